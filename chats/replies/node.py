"""One process of a deployment: what runs in it beside pages and API, from its start to its end."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from django.conf import settings

from chats import doorbell
from chats.llm.registry import close_sessions
from chats.replies.background import background
from chats.replies.bus import Rings, connect
from chats.replies.streams import TAILS, Reader, Writer
from chats.replies.worker import Worker


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
                from chats.replies import jobs  # noqa: PLC0415 - there are jobs on PostgreSQL only

                await stack.enter_async_context(background(jobs.fetch(worker)))
        yield


async def _connect(stack: AsyncExitStack) -> Writer:
    """Join the other nodes over Redis; what is joined here is left when `stack` ends."""
    url = settings.REDIS_URL
    client = await stack.enter_async_context(connect(url))
    rings, reader = Rings(client, url), Reader(client, url)
    writer = Writer(client, replay_seconds=settings.REPLY_REPLAY_SECONDS)
    stack.push_async_callback(reader.close)
    await stack.enter_async_context(background(rings.send(), rings.receive(), reader.read(), writer.write()))
    doorbell.carry_by(rings.carry)
    stack.callback(doorbell.carry_by, None)
    TAILS.read_from(reader)
    stack.callback(TAILS.read_from, None)
    return writer


def lifespan(*, runs_replies: bool) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The ASGI lifespan of a process that serves pages and API."""

    async def application(_: Any, receive: Any, send: Any) -> None:
        await receive()
        async with node(runs_replies=runs_replies):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return application
