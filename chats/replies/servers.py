"""A look at a server of tools when its person asks for one: does it answer, and what does it offer?"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync

from chats.errors import NotFound
from chats.replies.database import AWAY, in_database
from chats.tools.calling import endpoint_for_look, note_failure, take_note
from chats.tools.connections import look_at
from chats.tools.errors import ToolServerError
from chats.tools.oauth.tokens import with_token
from chats.tools.values import Endpoint, Found


@dataclass(frozen=True, slots=True)
class Look:
    """How it went; `message` is a sentence for people, the server's own words among it, never a secret."""

    ok: bool
    message: str
    code: str = ""


logger = structlog.get_logger(__name__)

LOOKS_AT_ONCE = 8
MOVED = Look(ok=False, message="This server was removed, or changed meanwhile.", code="not_found")


async def look(server_id: UUID, *, seconds: float, user_id: UUID | None = None) -> Look:
    """Ask a server what it offers, at most so long, and write down what was found. No connection is held meanwhile.

    It is asked as `user_id`, or else as the person whose it is.
    """
    place = await in_database(endpoint_for_look, server_id)
    if place is None:
        return MOVED
    endpoint, owner_id = place
    asker = user_id or owner_id
    try:
        found, is_signed = await _find(server_id, asker, endpoint, seconds=seconds)
    except ToolServerError as error:
        await in_database(note_failure, server_id, endpoint, asker, error)
        return Look(ok=False, message=f"{error.message} {error.detail}".strip(), code=error.code)
    try:
        await in_database(take_note, server_id, endpoint, asker, found, is_signed=is_signed)
    except NotFound:
        return MOVED
    count = len(found.tools)
    return Look(ok=True, message=f"It answers, and offers {count} tool{'' if count == 1 else 's'}.")


look_now = async_to_sync(look)


async def looked(server_ids: Iterable[UUID], *, seconds: float) -> AsyncGenerator[bytes, None]:
    """The body of an answer that waits until all these were looked at, each for about so long at most.

    It leads to a page that says from the rows how it went, and itself when the database is away.
    """
    turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def take_turn(server_id: UUID) -> None:
        async with turns:
            try:
                await look(server_id, seconds=seconds)
            except AWAY:
                pass
            except Exception:
                # One is no reason to give up the others.
                logger.exception("look_failed", server=str(server_id))

    async with asyncio.TaskGroup() as group:
        for server_id in server_ids:
            group.create_task(take_turn(server_id))
    yield b""


async def _find(server_id: UUID, user_id: UUID | None, endpoint: Endpoint, *, seconds: float) -> tuple[Found, bool]:
    """What a server offers to this person, and whether it was shown that they have signed in."""

    async def ask(signed: Endpoint) -> tuple[Found, bool]:
        return await look_at(signed, seconds=seconds), signed is not endpoint

    if user_id is None:
        return await ask(endpoint)
    return await with_token(in_database, server_id, user_id, endpoint, ask)
