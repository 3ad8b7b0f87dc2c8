"""What the nodes of a deployment tell each other over Redis, beside the rows that are the truth.

Rings of the doorbell travel by publish and subscribe; events of running replies lie in one stream a reply. Redis may
lose, forget or withhold any of it, and nobody here waits for it longer than ANSWER_SECONDS.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import orjson
import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chats import doorbell

logger = structlog.get_logger(__name__)

RINGS = "parley:rings"
ANSWER_SECONDS = 2.0
RETRY_SECONDS = 0.5
CONNECTIONS_MAX = 4
# Rings and events that come close together leave together.
GATHER_SECONDS = 0.01
WAITING_RINGS_MAX = 10_000
CARRIED: tuple[doorbell.Topic, ...] = ("reply", "chat")

# Whatever goes wrong with a connection; redis-py lets some of the system's own errors through.
LOST = (redis.RedisError, OSError, TimeoutError)


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
    )
    return redis.Redis.from_pool(pool)


class Rings:
    """Carries this process's rings to the others, and theirs to here."""

    def __init__(self, client: redis.Redis, url: str) -> None:
        self._client, self._url = client, url
        self._outgoing: list[tuple[str, str]] = []
        self._has_some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def carry(self, topic: doorbell.Topic, key: str) -> None:
        """Any thread may call it; it never waits."""
        if topic in CARRIED:
            self._loop.call_soon_threadsafe(self._put, topic, key)

    async def send(self) -> None:
        """Runs for as long as the process does."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            rings, self._outgoing = self._outgoing, []
            try:
                await self._client.publish(RINGS, orjson.dumps(rings))
            except LOST as error:
                logger.warning("rings_lost", count=len(rings), error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    async def receive(self) -> None:
        """Runs for as long as the process does. It also hears its own rings, and looking twice harms nobody."""
        while True:
            try:
                async with connect(self._url, waits=True) as client, client.pubsub() as channel:
                    await channel.subscribe(RINGS)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            _deliver(message["data"])
            except LOST as error:
                logger.warning("rings_deaf", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    def _put(self, topic: str, key: str) -> None:
        if len(self._outgoing) < WAITING_RINGS_MAX:
            self._outgoing.append((topic, key))
            self._has_some.set()


def _deliver(data: bytes) -> None:
    for topic, key in cast(Sequence[tuple[doorbell.Topic, str]], orjson.loads(data)):
        doorbell.deliver(topic, key)


async def answer(request: Awaitable[Any]) -> Any:
    """What Redis answers. Raises one of LOST after ANSWER_SECONDS: a paused server keeps its connections open."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await request
