"""All connections of this process that last: how many one person has open, and whether their credentials still hold.

Sockets, event streams, and calls that wait for a whole answer count together: each holds a descriptor, and one
question to the database every few seconds is about all of them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error

from accounts.authentication import Principal, still_valid
from chats.errors import TooMany
from chats.replies.database import in_database

logger = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 30


class Connection(Protocol):
    @property
    def principal(self) -> Principal: ...

    async def shut_out(self) -> None:
        """End it: its credential holds no longer."""


class Connections:
    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._per_user: Counter[UUID] = Counter()
        self._watch: asyncio.Task[None] | None = None

    def check_room(self, user_id: UUID) -> None:
        """Raises TooMany when this person has SOCKETS_PER_USER connections open. May be called from any thread."""
        if self._per_user[user_id] >= settings.SOCKETS_PER_USER:
            message = "You have too many connections open. Close some tabs, or wait for answers to end."
            raise TooMany(message, retry_after_seconds=RETRY_AFTER_SECONDS)

    def add(self, connection: Connection) -> None:
        self._per_user[connection.principal.user.pk] += 1
        self._open.add(connection)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._shut_out_revoked())

    def discard(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self._open.remove(connection)
        user_id = connection.principal.user.pk
        self._per_user[user_id] -= 1
        if not self._per_user[user_id]:
            del self._per_user[user_id]

    async def _shut_out_revoked(self) -> None:
        """Ends with the last connection; the next one starts it again."""
        while self._open:
            await asyncio.sleep(settings.SOCKET_RECHECK_SECONDS)
            # Only these are judged: one that opens while the question is asked is not in its answer.
            asked = list(self._open)
            try:
                valid = await in_database(still_valid, {connection.principal for connection in asked})
            except Error as error:
                logger.warning("recheck_retry", error=str(error))
                continue
            revoked = [connection for connection in asked if connection.principal not in valid]
            # Whatever one of them does, the others are ended, and the next round comes.
            ends = [connection.shut_out() for connection in revoked]
            for failure in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(failure, Exception):
                    logger.error("shut_out_failed", exc_info=failure)


CONNECTIONS = Connections()


class OpenStream:
    """One answer that somebody reads or waits for. It ends early once `over` has a result."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    async def shut_out(self) -> None:
        self.end()


class Streams:
    """Those of this process."""

    def __init__(self) -> None:
        self._open: set[OpenStream] = set()
        self._are_ending = False

    @contextmanager
    def open(self, principal: Principal) -> Iterator[OpenStream]:
        stream = OpenStream(principal)
        if self._are_ending:
            stream.end()
        CONNECTIONS.add(stream)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.remove(stream)
            CONNECTIONS.discard(stream)

    def end(self) -> None:
        """This process goes away: they end now, and so do those that begin later. Their readers go on elsewhere."""
        self._are_ending = True
        for stream in self._open:
            stream.end()


STREAMS = Streams()


async def counted(principal: Principal, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """`parts` of an answer that takes a while, which counts among what `principal` has open meanwhile."""
    with STREAMS.open(principal):
        async with aclosing(parts):
            async for part in parts:
                yield part
