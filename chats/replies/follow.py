"""The only way to read a reply while it is written: snapshot, then log, then wait, on any protocol."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from uuid import UUID

import orjson

from chats.replies import rows
from chats.replies.database import in_database
from chats.replies.log import LOGS

PING_SECONDS = 4.0
# While a reply has no log here, its row is looked at this often: it may end without ever being run.
LOOK_SECONDS = 0.5


async def follow(reply_id: UUID, after: int = 0) -> AsyncGenerator[tuple[int, bytes], None]:
    """Numbered JSON events of a reply beyond `after`, live, up to and with `reply.finished`.

    The text of the reply is the last snapshot or restart plus the deltas after it. Ends at once if the reply is gone.
    """
    seen, is_finished = after, False
    while not is_finished:
        log = LOGS.find(reply_id)
        if log is not None:
            async with aclosing(log.read(seen)) as events:
                async for seq, event in events:
                    seen = seq
                    yield seq, event
            is_finished = log.is_finished
            if is_finished or LOGS.find(reply_id) is not log:
                continue
        stored = await in_database(rows.stored_state, reply_id, seen)
        if stored is None:
            return
        for seq, event in _stored_events(reply_id, stored, seen):
            seen = seq
            yield seq, event
        is_finished = stored.finished is not None
        if not is_finished:
            await LOGS.wait_open(reply_id, seconds=LOOK_SECONDS)


def _stored_events(reply_id: UUID, stored: rows.Stored, seen: int) -> list[tuple[int, bytes]]:
    """What a viewer who has seen `seen` still needs from the row."""
    events = []
    finished_seq = stored.seq + 1
    # Nobody can have seen what comes after the end; such a number is a mistake, and gets all there is.
    is_mistaken = stored.finished is not None and seen > finished_seq
    if seen < stored.seq or is_mistaken:
        body = {"type": "reply.snapshot", "text": stored.text, "reasoning": stored.reasoning}
        events.append((stored.seq, _encoded(reply_id, stored.seq, body)))
    if stored.finished is not None and seen != finished_seq:
        events.append((finished_seq, _encoded(reply_id, finished_seq, {"type": "reply.finished", **stored.finished})))
    return events


def _encoded(reply_id: UUID, seq: int, body: Mapping[str, object]) -> bytes:
    return orjson.dumps({"seq": seq, "reply": str(reply_id), **body})


async def finished(reply_id: UUID) -> None:
    """Return when the reply is over."""
    async with aclosing(follow(reply_id)) as events:
        async for _ in events:
            pass


async def sse(
    events: AsyncGenerator[tuple[int, bytes], None], *, is_welcome: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[bytes]:
    """`events` as Server-Sent Events: `id:` is the seq. In silence a comment now and then keeps proxies from closing.

    It ends when a viewer who waits in silence `is_welcome` no longer.
    """
    async with aclosing(events):
        step: asyncio.Task[tuple[int, bytes]] | None = None
        try:
            while True:
                step = step or asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait({step}, timeout=PING_SECONDS)
                if not done:
                    if is_welcome is not None and not await is_welcome():
                        return
                    yield b": ping\n\n"
                    continue
                try:
                    seq, event = step.result()
                except StopAsyncIteration:
                    return
                step = None
                yield b"id: %d\ndata: %b\n\n" % (seq, event)
        finally:
            if step is not None:
                step.cancel()
                await asyncio.wait({step})
