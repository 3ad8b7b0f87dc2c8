"""Who is asking: a browser's session, a personal API key, or a token of the configured OIDC issuer.

Everything here is sync and asks the database each time, so what was revoked stops working with the next look.
A credential is compared whole, by its digest; what it was that is wrong with it is never said.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final, Literal

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import oidc
from accounts.errors import Unauthenticated
from accounts.models import ApiKey, Identity, User
from accounts.queries import one_or_none

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
    user = _active_user(session.get(SESSION_KEY))
    if user is None or not _is_session_of(user, session):
        return None
    return Principal(user, "session", session_key)


def is_still_valid(principal: Principal) -> bool:
    """Whether the credential behind `principal` would be let in now."""
    return principal in still_valid([principal])


def still_valid(principals: Collection[Principal]) -> set[Principal]:
    """Those whose credential would be let in now, in at most four queries for any number of them."""
    now = timezone.now()
    of_kind = {kind: [p for p in principals if p.kind == kind] for kind in ("session", "api_key", "jwt")}
    return {
        *_valid_sessions(of_kind["session"], when=now),
        *_valid_keys(of_kind["api_key"], when=now),
        *_valid_identities(of_kind["jwt"], when=now),
    }


def _valid_sessions(principals: Collection[Principal], *, when: datetime) -> Iterator[Principal]:
    if not principals:
        return
    keys = [principal.credential_id for principal in principals]
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=when).in_bulk(field_name="session_key")
    users = User.objects.filter(is_active=True).in_bulk([principal.user.pk for principal in principals])
    for principal in principals:
        session, user = sessions.get(principal.credential_id), users.get(principal.user.pk)
        if session is not None and user is not None and _is_session_of(user, session.get_decoded()):
            yield principal


def _valid_keys(principals: Collection[Principal], *, when: datetime) -> Iterator[Principal]:
    ids = [principal.credential_id for principal in principals]
    usable = ApiKey.objects.filter(pk__in=ids).usable(when).values_list("pk", flat=True) if ids else ()
    valid = {str(pk) for pk in usable}
    return (principal for principal in principals if principal.credential_id in valid)


def _valid_identities(principals: Collection[Principal], *, when: datetime) -> Iterator[Principal]:
    parts = {principal: principal.credential_id.partition(":") for principal in principals}
    unexpired = {principal: part[0] for principal, part in parts.items() if float(part[2]) > when.timestamp()}
    active = Identity.objects.filter(pk__in=unexpired.values(), user__is_active=True).values_list("pk", flat=True)
    valid = {str(pk) for pk in active} if unexpired else set()
    return (principal for principal, pk in unexpired.items() if pk in valid)


def _of_api_key(secret: str, *, when: datetime) -> Principal:
    key = one_or_none(ApiKey.objects.of_secret(secret).usable(when).select_related("user"))
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
        return one_or_none(User.objects.all(), pk=user_id, is_active=True) if user_id else None
    except ValidationError:
        return None


def _is_session_of(user: User, session: Mapping[str, Any]) -> bool:
    is_ours = session.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    is_theirs = session.get(SESSION_KEY) == str(user.pk)
    return is_ours and is_theirs and _is_hash_of(user, session.get(HASH_SESSION_KEY, ""))


def _is_hash_of(user: User, session_hash: str) -> bool:
    # The hash is made of the password's, so a change of password ends every session but the one that changed it.
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(session_hash, valid) for valid in hashes)
