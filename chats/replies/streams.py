"""The log of running replies for all nodes: one Redis stream a reply, whose ids are the numbers of its events.

The node that runs a reply writes its stream, any number of others read it. A stream holds the latest events only, and
may be gone at any time: a reader who finds a gap takes the text from the row, which is at most a second behind, and
goes on.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import redis.asyncio as redis
import structlog

from chats import doorbell
from chats.replies.bus import ANSWER_SECONDS, LOST, RETRY_SECONDS, answer
from chats.replies.log import REPLAY_MAX_EVENTS
from chats.replies.wire import Command, Wire

logger = structlog.get_logger(__name__)

EVENT, IS_LAST = b"e", b"z"
# A stream whose writer died is gone after this; a living one renews it now and then, with what it writes.
STREAM_SECONDS = 60
RENEW_SECONDS = 5.0
WAITING_EVENTS_MAX = 20_000
# What comes close together is written in one go, and fetched in one go; but the first token of an answer at once.
GATHER_SECONDS = 0.04
FETCH_SECONDS = 0.03
FIRST_TOKEN_SEQ = 2
BLOCK_SECONDS = 1.0
UNBLOCK_SECONDS = 0.02


def key_of(reply_id: UUID) -> str:
    return f"parley:reply:{reply_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a stream. `is_last` for `reply.finished`."""

    seq: int
    event: bytes
    is_last: bool


# ---------------------------------------------------------------- writing
class Writer:
    """Writes the events of this node's replies, those that come close together in one go."""

    def __init__(self, url: str, *, replay_seconds: float) -> None:
        self._wire = Wire(url)
        self._replay_seconds = max(1, round(replay_seconds))
        self._outgoing: list[tuple[UUID, Entry]] = []
        self._has_some, self._is_urgent = asyncio.Event(), asyncio.Event()
        self._renewed: set[UUID] = set()  # since the last of the moments that come every RENEW_SECONDS
        self._renew_at = 0.0

    def put(self, reply_id: UUID, seq: int, event: bytes, is_last: bool) -> None:
        """Never waits. While Redis is away events are dropped: readers find them in the row."""
        if len(self._outgoing) < WAITING_EVENTS_MAX:
            self._outgoing.append((reply_id, Entry(seq, event, is_last)))
        self._has_some.set()
        if seq <= FIRST_TOKEN_SEQ:
            self._is_urgent.set()

    async def write(self) -> None:
        """Runs for as long as the process does."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            self._is_urgent.clear()
            entries, self._outgoing = self._outgoing, []
            try:
                await answer(self._written(entries))
            except LOST as error:
                logger.warning("events_lost", count=len(entries), error=type(error).__name__)
                # It may come back empty.
                self._renewed.clear()
                await asyncio.sleep(RETRY_SECONDS)
            await _pause(GATHER_SECONDS, unless=self._is_urgent)

    async def close(self) -> None:
        """Write what waits, if Redis answers; for the end of the process."""
        entries, self._outgoing = self._outgoing, []
        with suppress(*LOST):
            await answer(self._written(entries))
        await self._wire.aclose()

    async def _written(self, entries: list[tuple[UUID, Entry]]) -> None:
        if not entries:
            return
        commands: list[Command] = []
        is_over: dict[UUID, bool] = {}
        for reply_id, entry in entries:
            mark = (IS_LAST, b"1") if entry.is_last else ()
            where = (key_of(reply_id), "MAXLEN", "~", REPLAY_MAX_EVENTS, f"{entry.seq}-0")
            # A number not greater than the last comes from an attempt that has lost its reply: refused, rightly.
            commands.append(("XADD", *where, EVENT, entry.event, *mark))
            is_over[reply_id] = is_over.get(reply_id, False) or entry.is_last
        for reply_id, is_last in is_over.items():
            if seconds := self._renewal(reply_id, is_last=is_last):
                commands.append(("EXPIRE", key_of(reply_id), seconds))
        await self._wire.tell(commands)

    def _renewal(self, reply_id: UUID, *, is_last: bool) -> int:
        """How long this stream is to be kept from now on; 0 when that was said a moment ago."""
        if is_last:
            return self._replay_seconds
        now = time.monotonic()
        if now >= self._renew_at:
            self._renewed.clear()
            self._renew_at = now + RENEW_SECONDS
        if reply_id in self._renewed:
            return 0
        self._renewed.add(reply_id)
        return STREAM_SECONDS


async def _pause(seconds: float, *, unless: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await unless.wait()


# ---------------------------------------------------------------- reading
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

    def __init__(self, client: redis.Redis, url: str) -> None:
        self.is_live = False
        self._client, self._url = client, url
        self._tails: dict[str, Tail] = {}
        self._new: dict[str, Tail] = {}  # those that were not asked for yet
        self._has_new = asyncio.Event()
        self._blocked: int | None = None  # the id of the connection that waits for events
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, reply_id: UUID, tail: Tail) -> None:
        key = key_of(reply_id)
        self._tails[key] = self._new[key] = tail
        self._has_new.set()
        task = asyncio.create_task(self._have_fetched(tail))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drop(self, reply_id: UUID) -> None:
        key = key_of(reply_id)
        self._tails.pop(key, None)
        self._new.pop(key, None)

    async def read(self) -> None:
        """Runs for as long as the process does."""
        async with aclosing(Wire(self._url)) as wire:
            while True:
                try:
                    self._blocked = await answer(wire.ask("CLIENT", "ID"))
                    while True:
                        await self._read_once(wire)
                except LOST as error:
                    logger.warning("events_unreadable", error=type(error).__name__)
                self.is_live, self._blocked = False, None
                await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read_once(self, wire: Wire) -> None:
        if not self._tails:
            self._has_new.clear()
            await answer(wire.ask("PING"))
            self.is_live = True
            await self._has_new.wait()
        self._has_new.clear()
        await self._fetch_new(wire)
        await self._fetch(wire, self._tails, wait_seconds=BLOCK_SECONDS)
        self.is_live = True
        if fresh := {key: tail for key, tail in self._tails.items() if tail.is_fresh}:
            await self._fetch(wire, fresh, wait_seconds=FETCH_SECONDS)
        else:
            await _pause(FETCH_SECONDS, unless=self._has_new)

    async def _fetch_new(self, wire: Wire) -> None:
        """Feed those that have just come with what is there already."""
        new, self._new = self._new, {}
        try:
            await self._fetch(wire, new)
        finally:
            for tail in new.values():
                tail.is_primed.set()

    async def _fetch(self, wire: Wire, tails: Mapping[str, Tail], *, wait_seconds: float = 0) -> None:
        """Feed these with what has come for them, or else with what comes first in so many seconds."""
        if not tails:
            return
        block = ("BLOCK", round(wait_seconds * 1000)) if wait_seconds else ()
        after = [f"{tail.seq}-0" for tail in tails.values()]
        async with asyncio.timeout(wait_seconds + ANSWER_SECONDS):
            found = await wire.ask("XREAD", *block, "STREAMS", *tails, *after)
        for key, entries in found or ():
            if tail := self._tails.get(key.decode()):
                tail.feed(map(_entry, entries))

    async def _have_fetched(self, tail: Tail) -> None:
        """Have the connection that waits for the others wait for this one too."""
        with suppress(*LOST):
            # Again and again: what ends its wait may come there before the request that begins it.
            while self._blocked is not None and not tail.is_primed.is_set():
                await answer(self._client.client_unblock(self._blocked))
                await _pause(UNBLOCK_SECONDS, unless=tail.is_primed)


def _entry(raw: tuple[bytes, list[bytes]]) -> Entry:
    """An entry as Redis sends it: its id, then its fields, each by name and value."""
    name, fields = raw
    return Entry(seq=int(name.partition(b"-")[0]), event=fields[1], is_last=IS_LAST in fields[2::2])


TAILS = Tails()
