"""One process of a deployment: what runs in it beside pages and API, from its start to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from django.conf import settings

from chats import doorbell
from chats.llm.registry import close_sessions
from chats.replies.background import background
from chats.replies.bus import RETRY_SECONDS, Rings
from chats.replies.streams import TAILS, Reader, Writer
from chats.replies.worker import Worker

logger = structlog.get_logger(__name__)


@asynccontextmanager
async def node(*, runs_replies: bool) -> Any:
    """Everything a process needs to follow replies, and with `runs_replies` to run them too."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(close_sessions)
        writer = await _connect(stack) if settings.IS_CLUSTER else None
        if runs_replies:
            worker = Worker(writer=writer)
            await worker.start()
            if writer is not None:
                stack.push_async_callback(writer.flush)
            stack.push_async_callback(worker.leave, grace_seconds=settings.SHUTDOWN_GRACE_SECONDS)
            if settings.IS_CLUSTER:
                await stack.enter_async_context(background(_fetch_jobs(worker)))
        yield


async def _connect(stack: AsyncExitStack) -> Writer:
    """Join the other nodes over Redis; what is joined here is left when `stack` ends."""
    url = settings.REDIS_URL
    rings, reader = Rings(url), Reader(url)
    writer = Writer(url, replay_seconds=settings.REPLY_REPLAY_SECONDS)
    for client in (rings, reader, writer):
        stack.push_async_callback(client.close)
    await stack.enter_async_context(background(rings.send(), rings.receive(), reader.read(), writer.write()))
    doorbell.carry_by(rings.carry)
    stack.callback(doorbell.carry_by, None)
    TAILS.read_from(reader)
    stack.callback(TAILS.read_from, None)
    return writer


async def _fetch_jobs(worker: Worker) -> None:
    from chats.replies import jobs  # noqa: PLC0415 - there are jobs on PostgreSQL only

    while True:
        try:
            await jobs.work(worker)
        except jobs.ConnectorException as error:
            # Until the database is back, the worker's own sweep finds nothing either.
            logger.warning("jobs_unreachable", error=str(error))
        await asyncio.sleep(RETRY_SECONDS)


def lifespan(*, runs_replies: bool) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The ASGI lifespan of a process that serves pages and API."""

    async def application(_: Any, receive: Any, send: Any) -> None:
        await receive()
        async with node(runs_replies=runs_replies):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return application
