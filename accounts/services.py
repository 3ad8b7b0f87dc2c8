"""Verbs on people and their credentials. Each is one transaction, and every interface calls the same."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import limits
from accounts.client_ids import check_client_id
from accounts.errors import Conflict, Invalid
from accounts.models import ApiKey, FirstUser, Identity, User
from accounts.queries import one_or_none

KEY_NAME_MAX_LENGTH: Final = 200
NAME_MAX_LENGTH: Final = 150
EMAIL_MAX_LENGTH: Final = 254
# Reserved by RFC 2606: no mail is ever delivered there.
PLACEHOLDER_DOMAIN: Final = "identity.invalid"
# Controls, among them NUL, and lone surrogates: not text, and PostgreSQL refuses some of them.
UNSTORABLE: Final = ("Cc", "Cs")
HINT_LENGTH: Final = 12
THEMES: Final = ("light", "dark", "system")
PREFERENCES: Final[dict[str, tuple[object, ...]]] = {"theme": THEMES, "enter_sends": (True, False)}


def create_user(
    email: str, *, password: str, name: str = "", is_staff: bool = False, is_superuser: bool = False
) -> User:
    """A person made by an operator, who vouches for the address. Raises Invalid, or Conflict for a known address."""
    with transaction.atomic():
        user = _new_user(
            email, password=password, name=name, is_staff=is_staff or is_superuser, is_superuser=is_superuser
        )
        vouch_for_email(user)
    return user


def sign_up(email: str, *, password: str, name: str = "") -> User:
    """A person who registers alone. The first one on an empty database becomes superuser, exactly one ever."""
    with transaction.atomic():
        user = _new_user(email, password=password, name=name)
        if settings.FIRST_USER_IS_SUPERUSER and _claims_to_be_first(user):
            user.is_staff = user.is_superuser = True
            user.save(update_fields=["is_staff", "is_superuser"])
    return user


def create_identity(*, issuer: str, subject: str, name: str = "") -> Identity:
    """The person an OIDC issuer names, made now unless someone else was quicker.

    The address is a placeholder that no mail can reach, so nobody else's account, sign-up or password reset is touched.
    """
    user = User(name=_cut_line(name, max_length=NAME_MAX_LENGTH))
    user.email = f"{user.pk}@{PLACEHOLDER_DOMAIN}"
    user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            return Identity.objects.create(user=user, issuer=issuer, subject=subject)
    except IntegrityError:
        return Identity.objects.select_related("user").get(issuer=issuer, subject=subject)


def vouch_for_email(user: User) -> None:
    """An operator says that the address is the person's. Any address she had before opens nothing any more."""
    with transaction.atomic():
        EmailAddress.objects.filter(user=user).delete()
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


def update_profile(user: User, *, name: str | None = None, preferences: Mapping[str, Any] | None = None) -> User:
    """Change what a person may change of herself; preferences that are not named stay. Raises Invalid."""
    changed = []
    if name is not None:
        user.name = clean_line(name, field="name", max_length=NAME_MAX_LENGTH)
        changed.append("name")
    if preferences is not None:
        user.preferences = {**user.preferences, **_clean_preferences(preferences)}
        changed.append("preferences")
    user.save(update_fields=changed)
    return user


def create_api_key(
    user: User, *, name: str, expires_at: datetime | None = None, client_id: str | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never shown again.

    The same `client_id` gives the same key and an empty secret. Raises Invalid, TooMany, and Conflict for a
    `client_id` that was used with another name or expiry.
    """
    name = clean_line(name, field="name", max_length=KEY_NAME_MAX_LENGTH)
    if not name:
        raise Invalid("Give the key a name.", fields={"name": ["Give the key a name."]})
    if client_id is not None:
        check_client_id(client_id)
    with transaction.atomic():
        # Everyone who makes a key for this person queues here, so the count below holds.
        User.objects.select_for_update().get(pk=user.pk)
        earlier = one_or_none(ApiKey.objects.all(), user=user, client_id=client_id) if client_id is not None else None
        if earlier:
            return _same_key(earlier, name=name, expires_at=expires_at), ""
        return _new_api_key(user, name=name, expires_at=expires_at, client_id=client_id)


def revoke_api_key(key: ApiKey) -> None:
    """Close a key for ever. The moment of the first revocation stays."""
    ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    key.refresh_from_db(fields=["revoked_at"])


def _new_user(email: str, *, password: str, name: str, is_staff: bool = False, is_superuser: bool = False) -> User:
    user = User(
        email=_clean_email(email),
        name=clean_line(name, field="name", max_length=NAME_MAX_LENGTH),
        is_staff=is_staff,
        is_superuser=is_superuser,
    )
    user.set_password(password)
    try:
        # A savepoint, because PostgreSQL refuses to go on in a transaction in which a statement failed.
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise Conflict("This address is already in use.", fields={"email": ["Already in use."]}) from None
    return user


def _claims_to_be_first(user: User) -> bool:
    if User.objects.exclude(pk=user.pk).exists():
        return False
    # Two people who register in the same instant don't see each other yet, but the row has only one possible key:
    # the second insert waits for the first and then does nothing.
    FirstUser.objects.bulk_create([FirstUser(id=1, user=user)], ignore_conflicts=True)
    return FirstUser.objects.filter(user=user).exists()


def _new_api_key(user: User, *, name: str, expires_at: datetime | None, client_id: str | None) -> tuple[ApiKey, str]:
    now = timezone.now()
    if expires_at is not None and expires_at <= now:
        raise Invalid("The expiry lies in the past.", fields={"expires_at": ["Choose a moment in the future."]})
    if ApiKey.objects.filter(user=user).usable(now).count() >= settings.API_KEYS_PER_USER:
        raise Invalid(f"You have {settings.API_KEYS_PER_USER} keys, which is the most. Revoke one first.")
    limits.hit("key-changes", str(user.pk), limit=settings.KEY_CHANGES_PER_HOUR, seconds=3600)
    secret = ApiKey.new_secret()
    key = ApiKey.objects.create(
        user=user,
        name=name,
        hint=secret[:HINT_LENGTH],
        digest=ApiKey.digest_of(secret),
        client_id=client_id,
        expires_at=expires_at,
    )
    return key, secret


def _same_key(key: ApiKey, *, name: str, expires_at: datetime | None) -> ApiKey:
    if (key.name, key.expires_at) != (name, expires_at):
        raise Conflict("This client_id was used before for a key with another name or expiry.")
    return key


def _clean_email(email: str) -> str:
    email = clean_line(User.objects.normalize_email(email), field="email", max_length=EMAIL_MAX_LENGTH)
    try:
        validate_email(email)
    except ValidationError:
        raise Invalid("Enter a valid email address.", fields={"email": ["Enter a valid email address."]}) from None
    return email


def _cut_line(text: str, *, max_length: int) -> str:
    """What can be stored of a text that nobody is there to correct."""
    return "".join(c for c in text if unicodedata.category(c) not in UNSTORABLE).strip()[:max_length]


def clean_line(text: str, *, field: str, max_length: int) -> str:
    """One line that every database can store. Raises Invalid."""
    text = text.strip()
    if len(text) > max_length:
        raise Invalid(f"The {field} is too long.", fields={field: [f"At most {max_length} characters."]})
    if any(unicodedata.category(character) in UNSTORABLE for character in text):
        raise Invalid(f"The {field} contains characters that can't be shown.", fields={field: ["Use plain text."]})
    return text


def _clean_preferences(preferences: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in preferences.items():
        if name not in PREFERENCES:
            raise Invalid(f"There is no preference «{name}».", fields={"preferences": [f"Unknown: {name}"]})
        # `is` for booleans: 1 == True, but it is not what the pages expect to find.
        if not any(value is v or (isinstance(v, str) and value == v) for v in PREFERENCES[name]):
            raise Invalid(f"«{name}» can't have this value.", fields={"preferences": [f"Not a value of {name}."]})
    return dict(preferences)
