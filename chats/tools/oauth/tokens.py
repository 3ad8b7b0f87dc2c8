"""The token to show to a server: as it is, or refreshed first. At most one refresh is under way, over all nodes."""

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from types import ModuleType
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from django.utils import timezone

from chats.tools.apart import begun, to_its_end
from chats.tools.errors import IssuerRefused, ServerSilent, SignInNeeded, ToolServerError
from chats.tools.oauth import rows
from chats.tools.oauth.values import Bearer
from chats.tools.values import Endpoint

logger = structlog.get_logger(__name__)
R = TypeVar("R")

WAIT_SECONDS = 15.0
SPARE_SECONDS = 3.0
LOOK_SECONDS = 0.1
# By these the issuer says that the refresh token, or Parley itself, is nothing to it any more (RFC 6749, section 5.2).
FINAL = frozenset(["invalid_grant", "invalid_client", "unauthorized_client"])
CLIENT_UNKNOWN = frozenset(["invalid_client", "unauthorized_client"])


class AskRows(Protocol):
    """Runs a sync function that reads or writes rows off the event loop (`chats.replies.database.in_database`)."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]: ...


async def wire_module() -> ModuleType:
    """`chats.tools.oauth.wire`, which takes a second to load, and 30 MB."""
    return await asyncio.to_thread(importlib.import_module, "chats.tools.oauth.wire")


async def bearer_for(
    ask_rows: AskRows, server_id: UUID, user_id: UUID, *, began: datetime | None = None, refused: int = 0
) -> Bearer | None:
    """The token of this person for this server; None when they have not signed in to it.

    `refused`: the version of the one that the server has just answered 401 to. `began`: an issuer that could not be
    asked since then is not asked again. Raises SignInNeeded when there can be no other, and ToolServerError when the
    issuer can't be asked, which is no reason to forget what there is.
    """
    began, clock = began or timezone.now(), asyncio.get_running_loop().time
    deadline = clock() + WAIT_SECONDS
    while clock() < deadline:
        # To its end: a lease that is taken is of use to nobody else.
        taken = await to_its_end(_turn(ask_rows, server_id, user_id, refused=refused, began=began))
        if taken is None:
            return None
        turn, refreshing = taken
        if refreshing is not None:
            # One that will do for now waits for the next only so long.
            await asyncio.wait({refreshing}, timeout=SPARE_SECONDS if turn.bearer else None)
            if refreshing.done():
                refreshing.result()
                continue
        if turn.bearer is not None:
            return turn.bearer
        if turn.grant is None:
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the questions
    raise ServerSilent("Your sign-in is being renewed, which takes too long. Try again later.", is_personal=True)


async def with_token(
    ask_rows: AskRows, server_id: UUID, user_id: UUID, endpoint: Endpoint, ask: Callable[[Endpoint], Awaitable[R]]
) -> R:
    """What comes of `ask`, with this person's token if there is one; once more when it had to be refreshed."""
    bearer = await bearer_for(ask_rows, server_id, user_id)
    try:
        return await ask(signed(endpoint, bearer))
    except SignInNeeded as error:
        if bearer is None or error.status != 401:
            raise in_words(error, endpoint, bearer) from None
    bearer = await bearer_for(ask_rows, server_id, user_id, refused=bearer.version)
    try:
        return await ask(signed(endpoint, bearer))
    except SignInNeeded as error:
        raise in_words(error, endpoint, bearer) from None


def signed(endpoint: Endpoint, bearer: Bearer | None) -> Endpoint:
    """The endpoint with a token, if that is for it."""
    return endpoint.signed_with(bearer.token) if bearer and bearer.origin == endpoint.origin else endpoint


def in_words(error: SignInNeeded, endpoint: Endpoint, bearer: Bearer | None) -> SignInNeeded:
    """The same, saying what its person can do about it."""
    if bearer is None and (endpoint.has_authorization or error.status != 401):
        return error
    if bearer is None:
        message = f"{endpoint.name} wants you to sign in. Do so on its page under Tools."
    elif error.status == 403:
        message = f"{endpoint.name} does not allow this to you. It may once you sign in again on its page under Tools."
    else:
        message = f"{endpoint.name} does not take your sign-in any more. Sign in again on its page under Tools."
    return SignInNeeded(message, status=error.status, challenge=error.challenge)


async def _turn(
    ask_rows: AskRows, server_id: UUID, user_id: UUID, *, refused: int, began: datetime
) -> tuple[rows.Turn, asyncio.Task[None] | None] | None:
    """What there is to do, with the refresh under way if it is ours."""
    turn: rows.Turn | None = await ask_rows(rows.take_turn, server_id, user_id, refused, began)
    if turn is None:
        return None
    return turn, begun(_refresh(ask_rows, server_id, user_id, turn)) if turn.grant is not None else None


async def _refresh(ask_rows: AskRows, server_id: UUID, user_id: UUID, turn: rows.Turn) -> None:
    """Have the tokens replaced, and store whatever comes of it; the rows tell all who wait, this caller too."""
    grant, version = turn.grant, turn.version
    assert grant is not None
    try:
        wire = await wire_module()
        tokens = await wire.refresh(grant, trusted_host=turn.trusted_host)
    except IssuerRefused as error:
        logger.info("token_refresh_refused", server=str(server_id), reason=error.reason)
        if error.reason in FINAL:
            left = grant.without_client() if error.reason in CLIENT_UNKNOWN else grant
            await ask_rows(rows.note_refresh_refused, server_id, user_id, version, left)
        else:
            await ask_rows(rows.note_refresh_failed, server_id, user_id, version)
    except ToolServerError as error:
        logger.info("token_refresh_failed", server=str(server_id), code=error.code)
        await ask_rows(rows.note_refresh_failed, server_id, user_id, version)
    else:
        await ask_rows(rows.keep_refreshed, server_id, user_id, version, grant, tokens)
