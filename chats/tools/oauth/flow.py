"""A sign-in from its beginning to its end: two requests of one browser, between which only rows remember anything."""

import asyncio
from collections.abc import Coroutine, MutableMapping
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.urls import reverse

from chats.tools.apart import to_its_end
from chats.tools.errors import IssuerRefused, SignInFailed, ToolServerError
from chats.tools.oauth import rows
from chats.tools.oauth.tokens import CLIENT_UNKNOWN, AskRows, wire_module
from chats.tools.oauth.values import Client, Grant, Pending, Plan, Tokens

logger = structlog.get_logger(__name__)

CALLBACK = "pages:sign_in_callback"
NONCE = "sign_in_nonce"  # in a session
CLIENT_ID_MAX_LENGTH = 500
CLIENT_SECRET_MAX_LENGTH = 2_000
BEGIN_SECONDS = 30  # for all that is asked before a person is sent away
DENIED = "access_denied"


@dataclass(frozen=True, slots=True)
class SentAway:
    """Where a person goes next, and whom they meet there."""

    url: str
    host: str
    issuer_host: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entered:
    """The client that a person has registered themselves; empty: Parley registers one."""

    client_id: str = ""
    client_secret: str = ""

    def check(self) -> None:
        """Raises SignInFailed for what no client has."""
        for name, text, most in (
            ("client_id", self.client_id, CLIENT_ID_MAX_LENGTH),
            ("client_secret", self.client_secret, CLIENT_SECRET_MAX_LENGTH),
        ):
            if len(text) > most or not text.isascii() or (text and not text.isprintable()):
                message = f"Use at most {most:,} printable ASCII characters."
                raise SignInFailed(message, fields={name: [message]})
        if self.client_secret and not self.client_id:
            message = "A client secret is of no use without its client id."
            raise SignInFailed(message, fields={"client_id": [message]})


def nonce_of(session: MutableMapping[str, Any]) -> str:
    """What only this session knows. Whoever logs out loses it."""
    if NONCE not in session:
        session[NONCE] = token_urlsafe(32)
    return str(session[NONCE])


def callback_url(base: str) -> str:
    """Where issuers send people back to. `base`: what this request calls the site, for want of FRONTEND_HOST."""
    return f"{settings.FRONTEND_HOST or base.rstrip('/')}{reverse(CALLBACK)}"


async def begin(
    ask_rows: AskRows, server_id: UUID, user_id: UUID, *, nonce: str, redirect_uri: str, entered: Entered
) -> SentAway:
    """Find out how one signs in to a server, and prepare it. `nonce`: what only this session knows.

    Raises NotFound, and SignInFailed with what is wrong.
    """
    start: rows.Start = await ask_rows(rows.start_of, server_id, user_id)
    wire = await wire_module()
    try:
        async with asyncio.timeout(BEGIN_SECONDS):
            plan: Plan = await wire.discover(start.endpoint, scope=start.scope, trusted_host=start.trusted_host)
            client = await _client_for(wire, start, plan, entered, redirect_uri)
    except ToolServerError as error:
        raise SignInFailed(error.message) from None
    except TimeoutError:
        raise SignInFailed(f"{start.endpoint.name} did not say in time how one signs in to it.") from None
    state = token_urlsafe(32)
    url, pending = wire.send_away(plan, client, state=state, origin=start.endpoint.origin)
    await ask_rows(rows.keep_pending, server_id, user_id, pending, state, nonce)
    return SentAway(url, _host(url), _host(plan.issuer.issuer), tuple(plan.scope.split()))


async def _client_for(wire: Any, start: rows.Start, plan: Plan, entered: Entered, redirect_uri: str) -> Client:
    """The client that was entered, or is known to this issuer from the last time, or a new one."""
    if entered.client_id:
        client: Client = wire.entered_client(plan, entered.client_id, entered.client_secret, redirect_uri=redirect_uri)
        return client
    known = start.client
    # What one issuer was told is no business of another.
    if known is not None and known.issuer == plan.issuer.issuer and known.redirect_uri == redirect_uri:
        return known
    work: Coroutine[Any, Any, Client] = wire.register(plan, redirect_uri=redirect_uri, trusted_host=start.trusted_host)
    return await to_its_end(work)


def check_return(pending: Pending, *, code: str, error: str, iss: str | None) -> None:
    """Whether a browser came back with a code of the issuer it was sent to. Raises SignInFailed."""
    issuer = pending.plan.issuer
    host = _host(issuer.issuer)
    # Another issuer's answer in this one's place (RFC 9207): its code must go to nobody.
    if iss is None and issuer.sends_iss:
        raise SignInFailed(f"The answer does not say that it is from {host}, as {host} does. Begin again.")
    if iss is not None and iss.rstrip("/") != issuer.issuer.rstrip("/"):
        raise SignInFailed(
            f"This answer is not from {host}, where you were sent. Do not begin again before you know why."
        )
    if error == DENIED:
        raise SignInFailed(f"You did not allow it at {host}, so nothing has changed.")
    if error or not code:
        raise SignInFailed(f"{host} did not let you sign in. Begin again on the page of the server.")


async def finish(ask_rows: AskRows, server_id: UUID, user_id: UUID, pending: Pending, code: str) -> None:
    """Have a code exchanged for tokens, and keep them. Raises SignInFailed."""
    await to_its_end(_finish(ask_rows, server_id, user_id, pending, code))


async def _finish(ask_rows: AskRows, server_id: UUID, user_id: UUID, pending: Pending, code: str) -> None:
    trusted_host: str = await ask_rows(rows.check_place, server_id, user_id, pending)
    wire = await wire_module()
    try:
        tokens: Tokens = await wire.exchange(pending, code, trusted_host=trusted_host)
    except ToolServerError as error:
        logger.info("sign_in_failed", server=str(server_id), code=error.code)
        if isinstance(error, IssuerRefused) and error.reason in CLIENT_UNKNOWN:
            await ask_rows(rows.drop_client, server_id, user_id)
        raise SignInFailed(f"{error.message} Begin again on the page of the server.") from None
    await ask_rows(rows.keep_tokens, server_id, user_id, pending, tokens)


async def revoke(grant: Grant | None, *, trusted_host: str) -> None:
    """Tell the issuer that a person has signed out, if it can be told: here they have in any case."""
    if grant is None:
        return
    wire = await wire_module()
    try:
        await to_its_end(wire.revoke(grant, trusted_host=trusted_host))
    except ToolServerError as error:
        logger.info("revocation_failed", code=error.code)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
