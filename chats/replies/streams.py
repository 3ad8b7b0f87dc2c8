"""The log of running replies for all nodes: one Redis stream a reply, whose ids are the numbers of its events.

The node that runs a reply writes its stream, any number of others read it (`tails`). A stream holds the latest events
only, and may be gone at any time.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from chats.replies.log import REPLAY_MAX_EVENTS
from chats.replies.wire import LOST, RETRY_SECONDS, Command, Wire, answer

logger = structlog.get_logger(__name__)

EVENT, IS_LAST = b"e", b"z"
# An event whose number is not greater than the last comes from an attempt that has lost its reply: refused, rightly.
NOT_GREATER = "ID specified in XADD is equal or smaller"
# A stream whose writer died is gone after this; a living one renews it with what it writes.
STREAM_SECONDS = 60
WAITING_EVENTS_MAX = 20_000
# What comes close together is written in one go; but the first token of an answer at once.
GATHER_SECONDS = 0.04
FIRST_TOKEN_SEQ = 2


def key_of(reply_id: UUID) -> str:
    return f"parley:reply:{reply_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a stream. `is_last` for `reply.finished`."""

    seq: int
    event: bytes
    is_last: bool


def entry_of(raw: tuple[bytes, list[bytes]]) -> Entry:
    """An entry as Redis sends it: its id, then its fields, each by name and value."""
    name, fields = raw
    return Entry(seq=int(name.partition(b"-")[0]), event=fields[1], is_last=IS_LAST in fields[2::2])


class Writer:
    """Writes the events of this node's replies, those that come close together in one go."""

    def __init__(self, url: str, *, replay_seconds: float) -> None:
        self._wire = Wire(url)
        self._replay_seconds = max(1, round(replay_seconds))
        self._outgoing: list[tuple[UUID, Entry]] = []
        self._has_some, self._is_urgent = asyncio.Event(), asyncio.Event()

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
            except asyncio.CancelledError:
                # For `close`; what is written already is refused the second time.
                self._outgoing = entries + self._outgoing
                raise
            except LOST as error:
                logger.warning("events_lost", count=len(entries), error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            await pause(GATHER_SECONDS, unless=self._is_urgent)

    async def close(self) -> None:
        """Write what waits, if Redis answers; for the end of the process, once `write` has ended."""
        entries, self._outgoing = self._outgoing, []
        with suppress(*LOST):
            await answer(self._written(entries))
        await self._wire.aclose()

    async def _written(self, entries: list[tuple[UUID, Entry]]) -> None:
        if not entries:
            return
        commands: list[Command] = []
        keep_seconds: dict[UUID, int] = {}
        for reply_id, entry in entries:
            mark = (IS_LAST, b"1") if entry.is_last else ()
            where = (key_of(reply_id), "MAXLEN", "~", REPLAY_MAX_EVENTS, f"{entry.seq}-0")
            commands.append(("XADD", *where, EVENT, entry.event, *mark))
            keep_seconds[reply_id] = self._replay_seconds if entry.is_last else STREAM_SECONDS
        # In the same breath, as Redis may come back empty at any moment, and the writer go.
        commands += [("EXPIRE", key_of(reply_id), seconds) for reply_id, seconds in keep_seconds.items()]
        await self._wire.do_all(commands, but=NOT_GREATER)


async def pause(seconds: float, *, unless: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await unless.wait()
