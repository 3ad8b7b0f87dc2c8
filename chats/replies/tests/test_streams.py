"""Events on their way from one node to another over Redis: written and read as two processes do it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from uuid import UUID, uuid4

import pytest
import redis.asyncio as redis

from chats.replies.background import background
from chats.replies.streams import Writer, key_of
from chats.replies.tails import Reader, Tail, Tails
from chats.replies.wire import Wire

SECONDS = 10


@pytest.fixture
def reply_id() -> UUID:
    return uuid4()


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    """A node that runs replies, to its end."""
    writer = Writer(url, replay_seconds=60)
    try:
        async with background(writer.write):
            yield writer
    finally:
        await writer.close()


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Tails]:
    """A node with viewers."""
    reader, tails = Reader(url), Tails()
    tails.read_from(reader)
    async with background(reader.read, reader.interrupt):
        yield tails


async def numbers(tail: Tail, last: int) -> list[int]:
    """Of the events beyond the first, once the `last` is there."""
    async with asyncio.timeout(SECONDS):
        while tail.seq < last:
            await tail.change(seconds=SECONDS)
    return [entry.seq for entry in tail.beyond(0)]


async def stored(url: str, reply_id: UUID) -> list[bytes]:
    async with redis.Redis.from_url(url) as client:
        return [fields[b"e"] for _, fields in await client.xrange(key_of(reply_id))]


async def test_events_arrive_in_their_order_and_the_stream_has_an_end(redis_url, reply_id):
    async with writing(redis_url) as writer, watching(redis_url) as tails, tails.watch(reply_id) as tail:
        for seq in range(1, 151):
            writer.put(reply_id, seq, b"%d" % seq, False)
            await asyncio.sleep(0)
        assert await numbers(tail, 150) == [*range(1, 151)]
    async with redis.Redis.from_url(redis_url) as client:
        assert 0 < await client.ttl(key_of(reply_id)) <= 60


async def test_whoever_leaves_and_comes_back_at_once_gets_the_replay(redis_url, reply_id):
    async with writing(redis_url) as writer, watching(redis_url) as tails:
        async with tails.watch(reply_id) as tail:
            for seq in range(1, 51):
                writer.put(reply_id, seq, b"x", False)
            await numbers(tail, 50)
            # From here on the reader waits for what comes after 50.
            await tail.change(seconds=0.1)
        async with tails.watch(reply_id) as tail:
            writer.put(reply_id, 51, b"x", False)
            assert await numbers(tail, 51) == [*range(1, 52)]


async def test_many_who_come_and_go_leave_the_others_their_events(redis_url, reply_id):
    async with writing(redis_url) as writer, watching(redis_url) as tails, tails.watch(reply_id) as tail:
        for seq in range(1, 31):
            async with tails.watch(uuid4()), tails.watch(uuid4()):
                writer.put(reply_id, seq, b"x", False)
                await asyncio.sleep(0)
        assert await numbers(tail, 30) == [*range(1, 31)]


async def test_a_connection_that_was_closed_while_it_was_idle_loses_nothing(redis_url, reply_id):
    async with writing(redis_url) as writer, redis.Redis.from_url(redis_url) as client:
        writer.put(reply_id, 1, b"1", False)
        await _has(redis_url, reply_id, 1)
        await client.client_kill_filter(_type="normal", skipme=True)
        writer.put(reply_id, 2, b"2", False)
        writer.put(reply_id, 3, b"3", True)
        assert await _has(redis_url, reply_id, 3) == [b"1", b"2", b"3"]


async def test_what_is_still_to_be_written_at_the_end_of_a_process_is_written(redis_url, reply_id):
    async with writing(redis_url) as writer:
        writer.put(reply_id, 1, b"1", False)
        await asyncio.sleep(0)  # the first is on its way when the process is told to end
        writer.put(reply_id, 2, b"2", True)
    assert await stored(redis_url, reply_id) == [b"1", b"2"]


async def test_an_attempt_that_has_lost_its_reply_adds_nothing_and_disturbs_nobody(redis_url, reply_id):
    other = uuid4()
    async with writing(redis_url) as late, writing(redis_url) as successor:
        successor.put(reply_id, 10_001, b"successor", False)
        await _has(redis_url, reply_id, 1)
        late.put(reply_id, 7, b"late", False)
        late.put(other, 1, b"other", False)
        await _has(redis_url, other, 1)
        assert await stored(redis_url, reply_id) == [b"successor"]


async def test_what_is_refused_is_raised_once_all_is_done_and_leaves_no_answer_behind(redis_url, reply_id):
    key = key_of(reply_id)
    async with aclosing(Wire(redis_url)) as wire:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            await wire.do_all([("SET", key, "text"), ("RPUSH", key, "no list"), ("APPEND", key, " and more")])
        assert await wire.ask("GET", key) == b"text and more"


async def _has(url: str, reply_id: UUID, count: int) -> list[bytes]:
    """What is in the stream once so many events are."""
    events: list[bytes] = []
    last = b"0"
    async with asyncio.timeout(SECONDS), redis.Redis.from_url(url, protocol=2) as client:
        while len(events) < count:
            for _, entries in await client.xread({key_of(reply_id): last}, block=SECONDS * 1000):
                events += [fields[b"e"] for _, fields in entries]
                last = entries[-1][0]
    return events
