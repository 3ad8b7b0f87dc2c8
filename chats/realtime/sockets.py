"""All open sockets of this process: how many one person has, and whether their credentials still hold."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error

from accounts.authentication import Principal, still_valid
from chats.errors import TooMany
from chats.replies.database import in_database

logger = structlog.get_logger(__name__)

CLOSE_REVOKED = 4401
CLOSE_SECONDS = 1


@dataclass(eq=False, frozen=True)
class OpenSocket:
    principal: Principal
    close: Callable[[int], Awaitable[None]]


class Sockets:
    def __init__(self) -> None:
        self._open: set[OpenSocket] = set()
        self._per_user: Counter[UUID] = Counter()
        self._watch: asyncio.Task[None] | None = None

    def add(self, socket: OpenSocket) -> None:
        """Raises TooMany when this person has SOCKETS_PER_USER open already."""
        user_id = socket.principal.user.pk
        if self._per_user[user_id] >= settings.SOCKETS_PER_USER:
            raise TooMany("You have too many connections open. Close some tabs.", retry_after_seconds=30)
        self._per_user[user_id] += 1
        self._open.add(socket)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._close_revoked())

    def discard(self, socket: OpenSocket) -> None:
        if socket not in self._open:
            return
        self._open.remove(socket)
        user_id = socket.principal.user.pk
        self._per_user[user_id] -= 1
        if not self._per_user[user_id]:
            del self._per_user[user_id]

    async def _close_revoked(self) -> None:
        """Ends with the last socket; the next one starts it again."""
        while self._open:
            await asyncio.sleep(settings.SOCKET_RECHECK_SECONDS)
            # Only these are judged: one that opens while the question is asked is not in its answer.
            asked = list(self._open)
            try:
                valid = await in_database(still_valid, {socket.principal for socket in asked})
            except Error as error:
                logger.warning("recheck_retry", error=str(error))
                continue
            revoked = [socket for socket in asked if socket.principal not in valid]
            # Whatever one of them does, the others are closed, and the next round comes.
            for failure in await asyncio.gather(*[_close(socket) for socket in revoked], return_exceptions=True):
                if isinstance(failure, Exception):
                    logger.error("close_failed", exc_info=failure)


async def _close(socket: OpenSocket) -> None:
    # A client that takes no data must not keep others from being shut out; it is forgotten here at once, and hears
    # nothing more.
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(CLOSE_REVOKED)


SOCKETS = Sockets()
