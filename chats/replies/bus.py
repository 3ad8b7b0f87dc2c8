"""What the nodes of a deployment tell each other over Redis, beside the rows that are the truth.

Rings of the doorbell travel by publish and subscribe, waiting replies lie in a list from which each worker takes the
next, events of running replies in one stream a reply. Redis may lose, forget or withhold any of it, and nobody here
waits for it longer than ANSWER_SECONDS.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
import redis.asyncio as redis
import structlog

from chats import doorbell
from chats.replies.wire import ANSWER_SECONDS, LOST, RETRY_SECONDS, Command, Wire, answer, connect

logger = structlog.get_logger(__name__)

RINGS = "parley:rings:"  # and the topic
WAITING = "parley:waiting"
# Rings that come close together leave together.
GATHER_SECONDS = 0.025
WAITING_MAX = 10_000
# What nobody has taken by then is found in its row, as is what Redis lost.
WAITING_KEPT_SECONDS = 60
# How long one listens without a word before asking whether the other end is still there.
QUIET_SECONDS = 3.0


class Outbox:
    """What any thread may put down, and one task takes away, all that is there at a time."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._has_some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def put(self, item: str) -> None:
        """Never waits. Raises RuntimeError when the process is ending."""
        self._loop.call_soon_threadsafe(self._put, item)

    async def take(self) -> list[str]:
        """All that is there, once there is something."""
        await self._has_some.wait()
        return self.empty()

    def empty(self) -> list[str]:
        self._has_some.clear()
        items, self._items = self._items, []
        return items

    def _put(self, item: str) -> None:
        if len(self._items) < WAITING_MAX:
            self._items.append(item)
            self._has_some.set()


class Rings:
    """Carries this process's rings of one topic to the others, and theirs to here."""

    def __init__(self, topic: doorbell.Topic, client: redis.Redis, url: str) -> None:
        self.outbox = Outbox()
        self._topic, self._client, self._url = topic, client, url
        self._name = secrets.token_hex(8)

    async def send(self) -> None:
        """Runs for as long as the process does."""
        while True:
            keys = await self.outbox.take()
            try:
                await self._client.publish(RINGS + self._topic, orjson.dumps([self._name, keys]))
            except LOST as error:
                logger.warning("rings_lost", count=len(keys), error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    async def receive(self) -> None:
        """Runs for as long as the process does."""
        while True:
            try:
                async with connect(self._url, waits=True) as client, client.pubsub() as channel:
                    await channel.subscribe(RINGS + self._topic)
                    while True:
                        self._deliver(await _next_of(channel))
            except LOST as error:
                logger.warning("rings_deaf", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    def _deliver(self, message: dict[str, Any]) -> None:
        if message["type"] != "message":
            return
        sender, keys = orjson.loads(message["data"])
        # Its own were heard when they rang.
        if sender != self._name:
            for key in keys:
                doorbell.deliver(self._topic, key)


class Waiting:
    """Brings replies that wait from whoever accepted them to workers, each to one."""

    def __init__(self, url: str, *, otherwise: Callable[[list[str]], Awaitable[None]]) -> None:
        """`otherwise` gets those that Redis did not take."""
        self.outbox = Outbox()
        self._url, self._otherwise = url, otherwise
        self._wire = Wire(url)
        self._under_way: list[str] = []

    async def send(self) -> None:
        """Runs for as long as the process does."""
        while True:
            self._under_way = await self.outbox.take()
            await self._push(self._under_way)
            self._under_way = []

    async def close(self) -> None:
        """Send what is still there, once `send` has ended: a process that ends has just handed its replies over."""
        if reply_ids := self._under_way + self.outbox.empty():
            await self._push(reply_ids)
        await self._wire.aclose()

    async def _push(self, reply_ids: list[str]) -> None:
        try:
            await answer(self._pushed(reply_ids))
        except LOST as error:
            logger.warning("waiting_not_pushed", count=len(reply_ids), error=type(error).__name__)
            await self._otherwise(reply_ids)

    async def _pushed(self, reply_ids: list[str]) -> None:
        commands: list[Command] = [
            ("RPUSH", WAITING, *reply_ids),
            ("LTRIM", WAITING, -WAITING_MAX, -1),
            ("EXPIRE", WAITING, WAITING_KEPT_SECONDS),
        ]
        await self._wire.do_all(commands)

    async def receive(self) -> None:
        """Hand the next to the worker of this process, for as long as it takes any."""
        async with aclosing(Wire(self._url)) as wire:
            while True:
                try:
                    while True:
                        async with asyncio.timeout(QUIET_SECONDS + ANSWER_SECONDS):
                            taken = await wire.ask("BLPOP", WAITING, round(QUIET_SECONDS))
                        if taken is not None:
                            doorbell.deliver("waiting", taken[1].decode())
                except LOST as error:
                    logger.warning("waiting_unreadable", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)


async def _next_of(channel: Any) -> dict[str, Any]:
    """What comes next on a channel: a message, or the answer to the question whether it is still there.

    Raises TimeoutError when nothing comes to that: a connection may be half open for ever.
    """
    message: dict[str, Any] | None = await channel.get_message(timeout=QUIET_SECONDS)
    if message is None:
        await answer(channel.ping())
        message = await channel.get_message(timeout=ANSWER_SECONDS)
    if message is None:
        raise TimeoutError
    return message
