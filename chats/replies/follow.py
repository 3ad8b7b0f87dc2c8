"""The only way to read a reply while it is written: snapshot, then log, then wait, on any protocol."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

import structlog

from chats.replies import lease, rows
from chats.replies.database import AWAY, in_database
from chats.replies.events import Numbered, encode, snapshot
from chats.replies.log import LOGS
from chats.replies.tails import TAILS, Tail

logger = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
# Proxies must pass every event on at once.
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
PING_SECONDS = 4.0
# In silence the row says whether calls wait for a person: soon where one was announced, and now and then where the
# event may have been lost on its way from another node.
TICK_SECONDS = 0.5
LOOK_EVERY = 8
APPROVAL = b'"type":"tool.approval_requested"'
# While a reply has no log here, its row is looked at this often: it may end without ever being run.
LOOK_SECONDS = 0.5
# The same while the events of other nodes arrive: then only a node that died says nothing.
LOOK_SECONDS_LIVE = 3.0
GAP_SECONDS = 0.3
# How long a new viewer waits for the events that are in the stream already; without them he starts with the row.
PRIME_SECONDS = 0.25


async def follow(reply_id: UUID, after: int = 0, *, is_new: bool = False) -> AsyncGenerator[Numbered, None]:
    """Numbered JSON events of a reply beyond `after`, live, up to and with `reply.finished`, whichever node runs it.

    The text of the reply is the last snapshot or restart plus the deltas after it. When the reply itself is deleted the
    last event is `reply.gone`, which comes with the number seen before and is not one of the reply's own.
    The row of one that `is_new`, stored a moment ago without a text, has nothing to tell before something happens.
    """
    seen, is_finished = after, False
    async with TAILS.watch(reply_id) as tail:
        while not is_finished:
            before = seen
            async with aclosing(_live(reply_id, tail, seen)) as events:
                async for seq, event, is_last in events:
                    seen, is_finished = seen if seq is None else seq, is_last
                    yield seq, event
            if seen != before:
                continue
            if is_new:
                is_new = False
                await tail.change(seconds=LOOK_SECONDS)
                continue
            stored = await _stored(reply_id, seen)
            if stored is None:
                yield seen, encode({"reply": str(reply_id), "type": "reply.gone"})
                return
            for seq, event in _stored_events(reply_id, stored, seen):
                seen = seen if seq is None else seq
                yield seq, event
            is_finished = stored.finished is not None
            log = LOGS.find(reply_id)
            has_more = tail.beyond(seen) if log is None else log.seq >= seen
            if not is_finished and not has_more:
                await _wait(tail, seen, is_at_rest=stored.is_at_rest)


async def _live(reply_id: UUID, tail: Tail, seen: int) -> AsyncGenerator[tuple[int | None, bytes, bool], None]:
    """Events from this process's log, or else from the stream of the node that runs the reply."""
    log = LOGS.find(reply_id)
    if log is not None:
        async with aclosing(log.read(seen)) as events:
            async for seq, event in events:
                yield seq, event, log.is_finished and seq == log.seq
        return
    if TAILS.is_live and not tail.is_primed.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(PRIME_SECONDS):
                await tail.is_primed.wait()
    entries = tail.beyond(seen)
    while entries:
        for entry in entries:
            seen = entry.seq
            yield seen, entry.event, entry.is_last
            if entry.is_last:
                return
        # As long as events flow nobody looks at the row: that would be a query for each of them.
        entries = tail.beyond(seen)
        if not entries and await tail.change(seconds=LOOK_SECONDS_LIVE):
            entries = tail.beyond(seen)


async def _stored(reply_id: UUID, seen: int) -> rows.Stored | None:
    """As `rows.stored_state`; while the database is away nothing new is known, which is no reason to end."""
    try:
        return await in_database(rows.stored_state, reply_id, seen)
    except AWAY as error:
        logger.warning("follow_retry", reply=str(reply_id), error=str(error))
        await asyncio.sleep(LOOK_SECONDS)
        return rows.Stored(seq=seen)


async def _wait(tail: Tail, seen: int, *, is_at_rest: bool) -> None:
    """Return when there may be more than `seen`: an event that follows on it, or a reason to look at the row."""
    is_quiet = TAILS.is_live or is_at_rest
    has_events = await tail.change(seconds=LOOK_SECONDS_LIVE if is_quiet else LOOK_SECONDS)
    if has_events and not tail.beyond(seen):
        # Events came, but those between were lost: they will be in the row with its next snapshot.
        await asyncio.sleep(GAP_SECONDS)


def _stored_events(reply_id: UUID, stored: rows.Stored, seen: int) -> Iterator[Numbered]:
    """What a viewer who has seen `seen` still needs from the row."""
    finished_seq = stored.seq + 1
    # Nobody can have seen what comes after the end, or so much more than is stored: a mistake, which gets all there is.
    is_mistaken = seen > (finished_seq if stored.finished is not None else stored.seq + lease.LOST_EVENTS_MARGIN)
    if seen < stored.seq or is_mistaken:
        yield from snapshot(str(reply_id), stored.seq, stored.standing)
        for call in stored.waiting:
            # Whoever comes only now has to hear of it too. It was told before, so it has no number of its own.
            head = {"seq": stored.seq, "reply": str(reply_id), "type": "tool.approval_requested"}
            yield None, encode({**head, **call})
    if stored.finished is not None and seen != finished_seq:
        head = {"seq": finished_seq, "reply": str(reply_id), "type": "reply.finished"}
        yield finished_seq, encode({**head, **stored.finished})


async def until_rest(
    reply_id: UUID, *, over: asyncio.Future[None], is_new: bool = False
) -> AsyncGenerator[Numbered, None]:
    """The events of a reply until it is finished, or waits for its person's word on calls, or it is `over`.

    Whether it waits only the row knows: an event that asks for it may be of a call that is decided by now.
    """
    asks, silences = False, 0
    told = ticking(follow(reply_id, is_new=is_new), over=over, seconds=TICK_SECONDS)
    async with aclosing(told) as events:
        async for numbered in events:
            if numbered is not None:
                asks = asks or APPROVAL in numbered[1]
                yield numbered
                continue
            silences += 1
            if asks or silences % LOOK_EVERY == 0:
                with suppress(*AWAY):
                    if await in_database(rows.is_waiting_for_approval, reply_id):
                        return


async def sse(events: AsyncGenerator[Numbered, None], *, over: asyncio.Future[None]) -> AsyncGenerator[bytes, None]:
    """`events` as Server-Sent Events: `id:` is the seq. In silence a comment now and then keeps proxies from closing.

    A part that is not the last has no `id:`: a browser that is cut off there names the event before when it comes back.
    It ends with the events, or at once when it is `over`; whoever reads it may go on from the last number.
    """
    async with aclosing(ticking(events, over=over, seconds=PING_SECONDS)) as told:
        async for numbered in told:
            if numbered is None:
                yield b": ping\n\n"
                continue
            seq, event = numbered
            yield b"data: %b\n\n" % event if seq is None else b"id: %d\ndata: %b\n\n" % (seq, event)


async def ticking(
    events: AsyncGenerator[Numbered, None], *, over: asyncio.Future[None], seconds: float
) -> AsyncGenerator[Numbered | None, None]:
    """`events`, and None whenever nothing has come for so long. It ends with them, or at once when it is `over`."""
    async with aclosing(events):
        step: asyncio.Task[Numbered] | None = None
        try:
            while True:
                step = step or asyncio.ensure_future(anext(events))
                ends: set[asyncio.Future[Any]] = {step, over}
                done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if over in done:
                    return
                if not done:
                    yield None
                    continue
                try:
                    numbered = step.result()
                except StopAsyncIteration:
                    return
                step = None
                yield numbered
        finally:
            if step is not None:
                step.cancel()
                await asyncio.wait({step})
