"""Who is asking: a browser's session, a personal API key, or a token of the configured OIDC issuer.

Everything here is sync and asks the database each time, so what was revoked stops working with the next look.
A credential is compared whole, by its digest; what it was that is wrong with it is never said.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Final, Literal

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import oidc
from accounts.errors import Unauthenticated
from accounts.models import ApiKey, Identity, User

TOKEN_MAX_LENGTH: Final = 16_384
# A key in constant use is written once in this time, not once a request.
LAST_USED_STEP: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, and the credential that says so. It can be asked again later whether it still holds."""

    user: User
    kind: Literal["session", "api_key", "jwt"]
    credential_id: str


def authenticate_bearer(token: str) -> Principal:
    """The person whose API key or OIDC access token this is. Raises Unauthenticated or IssuerUnavailable."""
    if not token or len(token) > TOKEN_MAX_LENGTH:
        raise Unauthenticated
    if token.startswith(ApiKey.PREFIX):
        return _of_api_key(token, when=timezone.now())
    if settings.OIDC_ISSUER:
        return _of_jwt(token)
    raise Unauthenticated


def principal_of_session(session_key: str) -> Principal | None:
    """The person logged in with this session, or None. Reads only: an outdated session is left to its browser."""
    if not session_key.isalnum():
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key).load()
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = _active_user(session.get(SESSION_KEY))
    if user is None or not _is_hash_of(user, session.get(HASH_SESSION_KEY, "")):
        return None
    return Principal(user, "session", session_key)


def is_still_valid(principal: Principal) -> bool:
    """Whether the credential behind `principal` would be let in now."""
    if principal.kind == "session":
        current = principal_of_session(principal.credential_id)
        return current is not None and current.user.pk == principal.user.pk
    if principal.kind == "api_key":
        return ApiKey.objects.filter(pk=principal.credential_id).usable(timezone.now()).exists()
    identity_id, _, expires_at = principal.credential_id.partition(":")
    is_unexpired = float(expires_at) > timezone.now().timestamp()
    return is_unexpired and Identity.objects.filter(pk=identity_id, user__is_active=True).exists()


def _of_api_key(secret: str, *, when: datetime) -> Principal:
    key = ApiKey.objects.of_secret(secret).usable(when).select_related("user").first()
    if key is None:
        raise Unauthenticated
    _note_use(key, when=when)
    return Principal(key.user, "api_key", str(key.pk))


def _note_use(key: ApiKey, *, when: datetime) -> None:
    stale = when - LAST_USED_STEP
    if key.last_used_at is None or key.last_used_at < stale:
        # The condition again, in the database: of many requests at once only one writes.
        is_stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=stale)
        ApiKey.objects.filter(is_stale, pk=key.pk).update(last_used_at=when)


def _of_jwt(token: str) -> Principal:
    claims = oidc.verify(token)
    identity = oidc.identity_of(claims)
    if not identity.user.is_active:
        raise Unauthenticated
    return Principal(identity.user, "jwt", f"{identity.pk}:{claims['exp']}")


def _active_user(user_id: str | None) -> User | None:
    try:
        return User.objects.filter(pk=user_id, is_active=True).first() if user_id else None
    except ValidationError:
        return None


def _is_hash_of(user: User, session_hash: str) -> bool:
    # The hash is made of the password's, so a change of password ends every session but the one that changed it.
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(session_hash, valid) for valid in hashes)
