"""The live log of running replies in this process: replay, tail and the text as it stands.

Every event has a number in its reply, one more than the last. An event is encoded once, however many follow. Text that
is too long for one is several, each with its number.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

from chats.replies.events import Numbered, Standing, encode, pieces, snapshot

# A viewer who is further behind than this gets the text as it stands instead of every step that led to it.
REPLAY_MAX_EVENTS = 200


class ReplyLog:
    """Events of one attempt at one reply. Only the event loop touches it."""

    def __init__(
        self, reply_id: UUID, *, last_seq: int, tell: Callable[[int, bytes, bool], None] | None = None
    ) -> None:
        self.reply_id = reply_id
        self._tell = tell  # who else gets every event: its number, the event, whether it is the last
        self._shown_id = str(reply_id)
        self.seq = self._base = last_seq
        self.is_closed = False
        self.is_finished = False  # the last event is `reply.finished`
        self._is_over = False  # and it is there
        self._events: deque[bytes] = deque(maxlen=REPLAY_MAX_EVENTS)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.message = ""  # the id of the one that the text is of
        self.calls = 0  # of tools, that it has asked for
        self._readers: set[asyncio.Future[None]] = set()

    @property
    def _standing(self) -> Standing:
        return Standing(self.text, self.reasoning, self.message, self.calls)

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    def append(self, kind: str, **fields: Any) -> None:
        """One more event. After the last one, and once it is closed, there is none: whoever comes late is not heard."""
        if self._is_over or self.is_closed:
            return
        self._is_over = self.is_finished
        self.seq += 1
        encoded = encode({"seq": self.seq, "reply": self._shown_id, "type": kind, **fields})
        # What orjson returns holds on to 4 kB, however short it is; this is kept for as long as the reply can be seen.
        event = bytes(memoryview(encoded))
        self._events.append(event)
        if self._tell is not None:
            self._tell(self.seq, event, self.is_finished)
        self._wake()

    def append_text(self, text: str) -> None:
        for piece in pieces(text):
            self._text.append(piece)
            self.append("text.delta", text=piece)

    def append_reasoning(self, text: str) -> None:
        for piece in pieces(text):
            self._reasoning.append(piece)
            self.append("reasoning.delta", text=piece)

    def append_snapshot(self, kind: str, text: str) -> None:
        """An event that replaces all that was there by `text`, or by as much of it as fits; deltas bring the rest."""
        first, *rest = pieces(text)
        self._text, self._reasoning = [first], []
        self.append(kind, text=first, reasoning="", message=self.message, calls=self.calls)
        for piece in rest:
            self.append_text(piece)

    def finish(self, **body: Any) -> None:
        self.is_finished = True
        self.append("reply.finished", **body)

    def close(self) -> None:
        """No more events will come here; whoever waits looks at the row."""
        self.is_closed = True
        self._wake()

    async def read(self, after: int) -> AsyncGenerator[Numbered, None]:
        """Numbered events beyond `after`, then live ones until the log closes.

        A reader who is behind what is kept first gets a snapshot. One who is ahead has seen a later attempt: this one
        has lost its reply, and has nothing to tell him.
        """
        # Whoever comes from before this attempt starts with its first event, which tells that all begins anew.
        seen = max(after, self._base)
        while True:
            if seen != self.seq:
                behind = self.seq - seen
                if behind < 0:
                    return
                if behind > len(self._events):
                    # The snapshot stands for the text only: the end is still to be told, by its own event.
                    seen = self.seq - self.is_finished
                    for part in snapshot(self._shown_id, seen, self._standing):
                        yield part
                else:
                    # Reading by position, not from a copy: more may arrive while the reader is being served.
                    seen += 1
                    yield seen, self._events[len(self._events) - behind]
            elif self.is_closed:
                return
            else:
                await self._next()

    async def _next(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._readers.add(waiting)
        try:
            await waiting
        finally:
            self._readers.discard(waiting)

    def _wake(self) -> None:
        for waiting in self._readers:
            if not waiting.done():
                waiting.set_result(None)


class Logs:
    """The logs of this process by reply."""

    def __init__(self) -> None:
        self._logs: dict[UUID, ReplyLog] = {}

    def open(
        self, reply_id: UUID, *, last_seq: int, tell: Callable[[int, bytes, bool], None] | None = None
    ) -> ReplyLog:
        log = self._logs[reply_id] = ReplyLog(reply_id, last_seq=last_seq, tell=tell)
        return log

    def find(self, reply_id: UUID) -> ReplyLog | None:
        return self._logs.get(reply_id)

    def close(self, log: ReplyLog, *, keep_seconds: float) -> None:
        """End `log`, and forget it once late viewers have had time to catch up from memory."""
        log.close()
        if log.is_finished:
            asyncio.get_running_loop().call_later(keep_seconds, self._forget, log)
        else:
            # Handed over or taken over: others know better.
            self._forget(log)

    def _forget(self, log: ReplyLog) -> None:
        # A later attempt may have put its own log here.
        if self._logs.get(log.reply_id) is log:
            del self._logs[log.reply_id]


def _joined(parts: list[str]) -> str:
    """The parts as one string, kept as one part so that the next call has less to do."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""


LOGS = Logs()
