"""The replies that this node watches: their latest events, read from the streams of the nodes that run them.

A reader who finds a gap takes the text from the row, which is at most a second behind, and goes on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from uuid import UUID

import structlog

from chats import doorbell
from chats.replies.log import REPLAY_MAX_EVENTS
from chats.replies.streams import FIRST_TOKEN_SEQ, Entry, entry_of, key_of, pause
from chats.replies.wire import ANSWER_SECONDS, LOST, RETRY_SECONDS, Wire, answer

logger = structlog.get_logger(__name__)

# What comes close together is fetched in one go; but the first token of an answer at once.
FETCH_SECONDS = 0.03
BLOCK_SECONDS = 1.0
INTERRUPT_SECONDS = 0.01
NEW_AT_ONCE = 50


class Tail:
    """The latest events of one reply that this node watches, without a gap between them."""

    def __init__(self) -> None:
        self.watchers = 0
        self.is_primed = asyncio.Event()
        self._entries: deque[Entry] = deque(maxlen=REPLAY_MAX_EVENTS)
        self._waiting: set[asyncio.Future[bool]] = set()

    @property
    def seq(self) -> int:
        return self._entries[-1].seq if self._entries else 0

    @property
    def is_fresh(self) -> bool:
        """Whether its first token is still to come."""
        return self.seq < FIRST_TOKEN_SEQ

    def feed(self, entries: Iterator[Entry]) -> None:
        for entry in entries:
            if entry.seq <= self.seq:
                continue
            if entry.seq != self.seq + 1:
                self._entries.clear()
            self._entries.append(entry)
        self._wake(has_events=True)

    def beyond(self, seen: int) -> list[Entry]:
        """The events that follow on `seen`, or none when there is a gap between."""
        if not self._entries or not self._entries[0].seq <= seen + 1 <= self.seq:
            return []
        first = seen + 1 - self._entries[0].seq
        return [self._entries[index] for index in range(first, len(self._entries))]

    def poke(self, _: str = "") -> None:
        """Something other than an event happened to this reply."""
        self._wake(has_events=False)

    async def change(self, *, seconds: float) -> bool:
        """Wait for events (True), or for another reason to look at the row (False), at most so long."""
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)

    def _wake(self, *, has_events: bool) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(has_events)


class Tails:
    """The tails of all replies that are watched in this process; with a Redis behind it, they get what others write."""

    def __init__(self) -> None:
        self._tails: dict[UUID, Tail] = {}
        self._reader: Reader | None = None

    @property
    def is_live(self) -> bool:
        """Whether events of other nodes arrive here at present."""
        return self._reader is not None and self._reader.is_live

    def read_from(self, reader: "Reader | None") -> None:
        self._reader = reader

    @asynccontextmanager
    async def watch(self, reply_id: UUID) -> AsyncIterator[Tail]:
        tail = self._tails.get(reply_id)
        if tail is None:
            tail = self._tails[reply_id] = Tail()
            if self._reader is not None:
                self._reader.add(reply_id, tail)
        tail.watchers += 1
        end_listening = doorbell.listen("reply", tail.poke, key=reply_id)
        try:
            yield tail
        finally:
            end_listening()
            tail.watchers -= 1
            if not tail.watchers:
                del self._tails[reply_id]
                if self._reader is not None:
                    self._reader.drop(reply_id)

    def poke(self, reply_id: UUID) -> None:
        """A log of this reply was opened here."""
        if tail := self._tails.get(reply_id):
            tail.poke()


class Reader:
    """Reads the streams of all watched replies over one connection."""

    def __init__(self, url: str) -> None:
        self.is_live = False
        self._url = url
        self._tails: dict[str, Tail] = {}
        self._new: dict[str, Tail] = {}  # those that were not asked for yet
        self._has_new = asyncio.Event()
        self._connection_id: int | None = None  # of the one that waits for events

    def add(self, reply_id: UUID, tail: Tail) -> None:
        key = key_of(reply_id)
        self._tails[key] = self._new[key] = tail
        self._has_new.set()

    def drop(self, reply_id: UUID) -> None:
        key = key_of(reply_id)
        self._tails.pop(key, None)
        self._new.pop(key, None)

    async def read(self) -> None:
        """Runs for as long as the process does."""
        async with aclosing(Wire(self._url)) as wire:
            while True:
                try:
                    self._connection_id = await answer(wire.ask("CLIENT", "ID"))
                    while True:
                        await self._read_once(wire)
                except LOST as error:
                    logger.warning("events_unreadable", error=type(error).__name__)
                finally:
                    self.is_live, self._connection_id = False, None
                await asyncio.sleep(RETRY_SECONDS)

    async def interrupt(self) -> None:
        """Runs beside it: ends the wait for the events of some when others have come."""
        async with aclosing(Wire(self._url)) as wire:
            while True:
                await self._has_new.wait()
                if self._connection_id is not None:
                    with suppress(*LOST):
                        await answer(wire.ask("CLIENT", "UNBLOCK", self._connection_id))
                # What ends a wait may come there before the request that begins it: then it is done again.
                await asyncio.sleep(INTERRUPT_SECONDS)

    async def _read_once(self, wire: Wire) -> None:
        if not self._tails:
            await answer(wire.ask("PING"))
            self.is_live = True
            await self._has_new.wait()
        await self._fetch_new(wire)
        await self._fetch(wire, self._tails, wait_seconds=BLOCK_SECONDS)
        self.is_live = True
        if fresh := {key: tail for key, tail in self._tails.items() if tail.is_fresh}:
            await self._fetch(wire, fresh, wait_seconds=FETCH_SECONDS)
        else:
            await pause(FETCH_SECONDS, unless=self._has_new)

    async def _fetch_new(self, wire: Wire) -> None:
        """Feed those that have just come with what is there already."""
        self._has_new.clear()
        new, self._new = self._new, {}
        try:
            for some in _at_most(NEW_AT_ONCE, new):
                await self._fetch(wire, some)
        finally:
            for tail in new.values():
                tail.is_primed.set()

    async def _fetch(self, wire: Wire, tails: Mapping[str, Tail], *, wait_seconds: float = 0) -> None:
        """Feed these with what has come for them, or else with what comes first in so many seconds."""
        if not tails:
            return
        block = ("BLOCK", round(wait_seconds * 1000)) if wait_seconds else ()
        # Who comes meanwhile, perhaps in the place of another, has not asked.
        asked = {key.encode(): tail for key, tail in tails.items()}
        after = [f"{tail.seq}-0" for tail in asked.values()]
        async with asyncio.timeout(wait_seconds + ANSWER_SECONDS):
            found = await wire.ask("XREAD", *block, "STREAMS", *asked, *after)
        for key, entries in found or ():
            asked[key].feed(map(entry_of, entries))


def _at_most(count: int, tails: Mapping[str, Tail]) -> Iterator[Mapping[str, Tail]]:
    """These in groups: a crowd's replay is read without holding up everyone else."""
    items = list(tails.items())
    for start in range(0, len(items), count):
        yield dict(items[start : start + count])


TAILS = Tails()
