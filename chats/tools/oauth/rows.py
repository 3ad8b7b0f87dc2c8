"""The rows of sign-ins and credentials. Sync functions, each of them short: none waits for anybody outside.

A token is refreshed by whoever takes its lease, with a conditional update. A row lock would have to be held over the
issuer's answer, and with it a connection and, on SQLite, the one writer of all; so those who come meanwhile wait
without either, and read again.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts.models import User
from chats.cleaning import clean_text
from chats.errors import NotFound
from chats.tools.addresses import origin_of, origin_text
from chats.tools.errors import ServerUnreachable, SignInFailed, SignInNeeded
from chats.tools.models import Credential, McpServer, SignIn
from chats.tools.models.credential import ORIGIN_MAX_LENGTH
from chats.tools.oauth.values import SCOPE_MAX_CHARACTERS, Bearer, Client, Grant, Pending, Tokens
from chats.tools.services import endpoint_of, lock_server
from chats.tools.values import Endpoint

SIGN_IN_MINUTES = 10
KEPT = timedelta(hours=1)  # afterwards, so that who comes late learns why it is too late
# Longer than the issuer's answer is waited for: a lease that ends has lost its holder.
LEASE = timedelta(seconds=30)
LIFETIME_MAX = timedelta(days=3650)

_MISSED = re.compile(r'\bscope="([^"]+)"')

NOT_BEGUN = "This sign-in was not begun by you in this browser. Begin it again on the page of the server."
IS_USED = "This sign-in is over. If it did not work, begin it again on the page of the server."
IS_LATE = f"This sign-in took longer than {SIGN_IN_MINUTES} minutes. Begin it again on the page of the server."
HAS_MOVED = "The server was changed while you signed in. Begin again on its page."
AGAIN = "Your sign-in to {name} has ended. Sign in again on its page under Tools."


@dataclass(frozen=True, slots=True)
class Start:
    """What is known before a person is sent away: where the server is, who Parley is there, what was allowed."""

    endpoint: Endpoint
    client: Client | None
    scope: str
    trusted_host: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Before a call: have `grant` refreshed, which is this caller's; show `bearer`, also until then; else wait."""

    bearer: Bearer | None = None
    grant: Grant | None = None
    version: int = 0
    trusted_host: str = ""


def start_of(server_id: UUID, user_id: UUID) -> Start:
    """Raises NotFound when this person sees no such server."""
    server = _visible(server_id, user_id)
    known = _of(server_id, user_id).first()
    grant = known.grant if known and known.origin == _origin(server) else None
    scope = f"{known.scope} {known.wanted_scope}".strip() if known and known.wanted_scope else ""
    return Start(endpoint_of(server), grant.client if grant else None, scope, trusted_host(server))


def keep_pending(server_id: UUID, user_id: UUID, pending: Pending, state: str, nonce: str) -> None:
    """Write down that a person is sent away. Earlier ones that nobody came back from go. Raises NotFound."""
    now = timezone.now()
    SignIn.objects.filter(created_at__lt=_first_valid(now) - KEPT).delete()
    with transaction.atomic():
        SignIn.objects.create(
            server=lock_server(server_id),
            user_id=user_id,
            state_hash=_hash(state),
            nonce_hash=_hash(nonce),
            secrets=pending.pack(),
            created_at=now,
        )


def take_pending(user_id: UUID, *, state: str, nonce: str) -> tuple[UUID, Pending]:
    """The server and the flow that a browser comes back with, which is then over. Raises SignInFailed."""
    now = timezone.now()
    mine = SignIn.objects.filter(state_hash=_hash(state), user=user_id, nonce_hash=_hash(nonce))
    row = mine.first() if state and nonce else None
    if row is None:
        raise SignInFailed(NOT_BEGUN)
    # Decided by the database: of two requests with one state only one goes on.
    if not SignIn.objects.filter(pk=row.pk, used_at__isnull=True).update(used_at=now, secrets=""):
        raise SignInFailed(IS_USED)
    pending = Pending.unpack(row.secrets)
    if row.created_at < _first_valid(now) or pending is None:
        raise SignInFailed(IS_LATE)
    return row.server_id, pending


def check_place(server_id: UUID, user_id: UUID, pending: Pending) -> str:
    """Its `trusted_host`. Raises SignInFailed when the server is gone, or elsewhere by now."""
    server = McpServer.objects.visible_to(User(pk=user_id)).filter(pk=server_id).first()
    if server is None or _origin(server) != pending.origin:
        raise SignInFailed(HAS_MOVED)
    return trusted_host(server)


def trusted_host(server: McpServer) -> str:
    """Where one may go inside the operator's networks to sign in to it: its own host and port, or "" for nowhere."""
    _, host, port = origin_of(server.url)
    return f"{host}:{port}" if server.is_shared else ""


def keep_tokens(server_id: UUID, user_id: UUID, pending: Pending, tokens: Tokens) -> None:
    """What has come of a sign-in. Raises SignInFailed when the server is gone, or elsewhere by now."""
    plan = pending.plan
    grant = Grant(plan.issuer, pending.client, plan.resource).with_tokens(tokens)
    with transaction.atomic(durable=True):
        # An address that changes in this moment takes these away as well.
        server = McpServer.objects.visible_to(User(pk=user_id)).select_for_update().filter(pk=server_id).first()
        if server is None or _origin(server) != pending.origin:
            raise SignInFailed(HAS_MOVED)
        new = _columns(grant, tokens, scope=tokens.scope or plan.scope)
        new |= {"origin": pending.origin, "wanted_scope": "", "refreshing_until": None}
        if not _of(server_id, user_id).update(version=F("version") + 1, **new):
            Credential.objects.create(server_id=server_id, user_id=user_id, **new)


def forget(server_id: UUID, user_id: UUID) -> tuple[Grant | None, str]:
    """Take a credential away. Returns what it was, to tell its issuer, and the server's `trusted_host`."""
    with transaction.atomic(durable=True):
        row = _of(server_id, user_id).select_related("server").first()
        SignIn.objects.filter(server=server_id, user=user_id).delete()
        if row is None:
            return None, ""
        row.delete()
    return row.grant, trusted_host(row.server)


def take_turn(server_id: UUID, user_id: UUID, refused: int, began: datetime) -> Turn | None:
    """What to do before a call; None when this person has not signed in. `refused`: the version that was answered 401.

    Raises SignInNeeded, and ServerUnreachable when a refresh has failed since `began`.
    """
    row = _of(server_id, user_id).select_related("server").first()
    if row is None:
        return None
    if row.origin != _origin(row.server):
        # Changed past the verb that deletes it.
        row.delete()
        return None
    grant, now = row.grant, timezone.now()
    if grant is None or not grant.access_token:
        raise SignInNeeded(row.error_message or AGAIN.format(name=row.server.name))
    is_usable = row.version > refused and not row.is_expired(now)
    bearer = row.bearer(grant)
    if is_usable and not bearer.is_stale(now):
        return Turn(bearer)
    spare = Turn(bearer) if is_usable else None
    if not grant.refresh_token:
        return spare or _end(row, grant, now)
    if row.refresh_failed_at and row.refresh_failed_at >= began:
        return spare or _unreachable(row)
    if _claim(row, now):
        return Turn(spare.bearer if spare else None, grant, row.version, trusted_host(row.server))
    return spare or Turn()


def keep_refreshed(server_id: UUID, user_id: UUID, version: int, grant: Grant, tokens: Tokens) -> None:
    """The tokens that follow those of `version`; stored before anybody uses them, as the earlier ones may be void."""
    new = _columns(grant.with_tokens(tokens), tokens, scope=tokens.scope)
    if not new["scope"]:
        del new["scope"]
    held = _of(server_id, user_id).filter(version=version)
    held.update(version=version + 1, refreshing_until=None, refresh_failed_at=None, **new)


def note_refresh_failed(server_id: UUID, user_id: UUID, version: int) -> None:
    """The issuer could not be asked: the tokens stay, and others need not wait for the same."""
    held = _of(server_id, user_id).filter(version=version)
    held.update(refreshing_until=None, refresh_failed_at=timezone.now())


def note_refresh_refused(server_id: UUID, user_id: UUID, version: int, grant: Grant) -> None:
    """The issuer takes the refresh token no more, so its person has to sign in again. What Parley is called stays."""
    row = _of(server_id, user_id).filter(version=version).select_related("server").first()
    if row is not None:
        _end_row(row, grant)


def drop_client(server_id: UUID, user_id: UUID) -> None:
    """The issuer knows nothing of what Parley is called there: the next sign-in registers it anew."""
    row = _of(server_id, user_id).first()
    if row is not None and (grant := row.grant) is not None:
        _of(server_id, user_id).filter(version=row.version).update(secrets=grant.without_client().pack())


def note_refused(server_id: UUID, user_id: UUID, error: SignInNeeded) -> None:
    """The server does not take what it is shown, or allows less to it than was asked for."""
    new: dict[str, object] = {}
    if error.status in {0, 401}:
        new["error_message"] = error.message[:500]
    if error.status == 403 and (missed := _MISSED.search(error.challenge)) and "insufficient_scope" in error.challenge:
        new["wanted_scope"] = clean_text(missed[1])[:SCOPE_MAX_CHARACTERS]
    if new:
        _of(server_id, user_id).update(**new)


def note_accepted(server_id: UUID, user_id: UUID) -> None:
    """The server lets this person in."""
    _of(server_id, user_id).exclude(error_message="").update(error_message="")


def _columns(grant: Grant, tokens: Tokens, *, scope: str) -> dict[str, object]:
    now = timezone.now()
    # Some say 0 for what has no end.
    seconds = tokens.lifetime_seconds
    lifetime = timedelta(seconds=min(seconds, LIFETIME_MAX.total_seconds())) if seconds and seconds > 0 else None
    return {
        "secrets": grant.pack(),
        "scope": clean_text(scope)[:SCOPE_MAX_CHARACTERS],
        "issued_at": now,
        "expires_at": now + lifetime if lifetime else None,
        "error_message": "",
    }


def _claim(row: Credential, now: datetime) -> bool:
    if row.refreshing_until is not None and row.refreshing_until >= now:
        return False
    # As it was read: a refresh that has begun and failed in between has left the version as it was.
    as_read = Credential.objects.filter(
        pk=row.pk,
        version=row.version,
        refreshing_until=row.refreshing_until,
        refresh_failed_at=row.refresh_failed_at,
    )
    return bool(as_read.update(refreshing_until=now + LEASE))


def _end(row: Credential, grant: Grant, now: datetime) -> Turn:
    """There is no other token. One that may be good yet stays: that it was refused may be the server's fault."""
    if row.is_expired(now):
        _end_row(row, grant)
    raise SignInNeeded(AGAIN.format(name=row.server.name))


def _end_row(row: Credential, grant: Grant) -> None:
    held = Credential.objects.filter(pk=row.pk, version=row.version)
    message = AGAIN.format(name=row.server.name)
    held.update(
        secrets=grant.without_tokens().pack(), error_message=message, refreshing_until=None, version=row.version + 1
    )


def _unreachable(row: Credential) -> Turn:
    raise ServerUnreachable(
        f"Your sign-in to {row.server.name} could not be renewed just now. Try again later.", is_personal=True
    )


def _visible(server_id: UUID, user_id: UUID) -> McpServer:
    servers = McpServer.objects.visible_to(User(pk=user_id)).filter(pk=server_id, transport=McpServer.Transport.HTTP)
    server = servers.first()
    if server is None:
        raise NotFound
    return server


def _of(server_id: UUID, user_id: UUID) -> QuerySet[Credential]:
    return Credential.objects.filter(server=server_id, user=user_id)


def _origin(server: McpServer) -> str:
    return origin_text(server.url)[:ORIGIN_MAX_LENGTH]


def _first_valid(now: datetime) -> datetime:
    return now - timedelta(minutes=SIGN_IN_MINUTES)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
