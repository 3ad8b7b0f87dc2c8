"""One process of a deployment: what runs in it beside pages and API, from its start to its end."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings

from chats import doorbell
from chats.llm.registry import close_sessions
from chats.replies.background import background
from chats.replies.bus import Rings, Waiting
from chats.replies.documents import DocumentReader
from chats.replies.embedding import VectorMaker
from chats.replies.streams import Writer
from chats.replies.sweeping import keep_sweeping
from chats.replies.tails import TAILS, Reader
from chats.replies.wire import connect
from chats.replies.worker import Worker


@asynccontextmanager
async def node(*, runs_replies: bool, has_sockets: bool) -> Any:
    """What a process needs to run replies, and to have them followed over its sockets and streams."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(close_sessions)
        bus = await _join(stack, hears_of_chats=has_sockets) if settings.IS_CLUSTER else None
        if runs_replies:
            worker = Worker(writer=bus.writer if bus else None)
            await worker.start()
            stack.push_async_callback(worker.leave, grace_seconds=settings.SHUTDOWN_GRACE_SECONDS)
            vectors = VectorMaker(name=worker.name)
            documents = DocumentReader(name=worker.name, vectors=vectors)
            work = (documents.read, documents.purge, vectors.work, keep_sweeping)
            await stack.enter_async_context(background(*work))
            if bus is not None:
                await stack.enter_async_context(background(bus.waiting.receive, partial(bus.fetch_jobs, worker)))
        yield


@dataclass(frozen=True)
class _Bus:
    waiting: Waiting
    writer: Writer
    fetch_jobs: Callable[[Worker], Awaitable[None]]


async def _join(stack: AsyncExitStack, *, hears_of_chats: bool) -> _Bus:
    """Join the other nodes over Redis; what is joined here is left when `stack` ends."""
    from chats.replies import jobs  # noqa: PLC0415 - there are jobs on PostgreSQL only

    url = settings.REDIS_URL
    client = await stack.enter_async_context(connect(url))
    of_replies, of_chats, of_documents = (Rings(topic, client, url) for topic in ("reply", "chat", "document"))
    waiting = Waiting(url, otherwise=jobs.queue)
    reader, writer = Reader(url), Writer(url, replay_seconds=settings.REPLY_REPLAY_SECONDS)
    work = [of_replies.send, of_replies.receive, of_chats.send, of_documents.send, of_documents.receive, waiting.send]
    work += [reader.read, reader.interrupt, writer.write]
    if hears_of_chats:
        work.append(of_chats.receive)
    # Once they send and write no more.
    stack.push_async_callback(waiting.close)
    stack.push_async_callback(writer.close)
    await stack.enter_async_context(background(*work))
    carriers: doorbell.Carriers = {
        "reply": of_replies.outbox.put,
        "chat": of_chats.outbox.put,
        "document": of_documents.outbox.put,
        "waiting": waiting.outbox.put,
    }
    doorbell.carry_by(carriers)
    stack.callback(doorbell.carry_by, {})
    TAILS.read_from(reader)
    stack.callback(TAILS.read_from, None)
    return _Bus(waiting, writer, jobs.fetch)


def lifespan(*, runs_replies: bool) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The ASGI lifespan of a process that serves pages and API."""

    async def application(_: Any, receive: Any, send: Any) -> None:
        await receive()
        async with node(runs_replies=runs_replies, has_sockets=True):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return application
