"""Talking to Redis: connecting to it, never waiting for it longer than it is worth, and a fast way for every token."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import hiredis
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

ANSWER_SECONDS = 2.0
RETRY_SECONDS = 0.5
CONNECTIONS_MAX = 4
# Whatever goes wrong with a connection; redis-py lets some of the system's own errors through.
LOST = (redis.RedisError, OSError, TimeoutError)

Command = tuple[str | int | bytes, ...]


def connect(url: str, *, waits: bool = False) -> redis.Redis:
    """A client that gives up soon instead of trying again; one that `waits` is for reads that block.

    A crowd that comes at once shares CONNECTIONS_MAX connections, instead of opening one each.
    """
    pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=None if waits else ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        # The client reads what RESP 3 answers to XREAD twice, to make of it what RESP 2 says at once.
        protocol=2,
    )
    return redis.Redis.from_pool(pool)


async def answer(request: Awaitable[Any]) -> Any:
    """What Redis answers. Raises one of LOST after ANSWER_SECONDS: a paused server keeps its connections open."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await request


class Wire:
    """One connection, for one task, which does without what the client does beside talking to Redis.

    A command takes several times as long by the client's pipeline or XREAD, most of it for records of how long it took,
    and every token comes this way twice, as it is written and as it is read. Connecting, logging in and TLS are the
    client's. Whoever calls says how long he waits; after a loss the next call connects anew. Both raise one of LOST.
    """

    def __init__(self, url: str) -> None:
        pool: Any = connect(url, waits=True).connection_pool
        self._connection = pool.make_connection()

    async def ask(self, *command: str | int | bytes) -> Any:
        """What Redis answers, as it comes: bytes, numbers and lists."""
        await self._connection.send_packed_command(_packed(command), check_health=False)
        return await self._connection.read_response(disable_decoding=True)

    async def do_all(self, commands: Sequence[Command], *, but: str | None = None) -> None:
        """Have these done, in their order. Raises the first refusal, unless it says `but`, once all are answered.

        It leaves a server that refuses: one that is a replica by now, say. Whoever connects anew may find another.
        """
        if self._connection.is_connected and await self._connection.can_read():
            # It was closed from the other side while nothing was said.
            await self.aclose()
        await self._connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
        answers = [await self._answer() for _ in commands]
        for refusal in answers:
            if isinstance(refusal, redis.ResponseError) and (but is None or but not in str(refusal)):
                await self.aclose()
                raise refusal

    async def aclose(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except redis.ResponseError as refusal:
            return refusal


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows of one word only
    return packed
