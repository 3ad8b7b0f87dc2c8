"""Work that goes on beside other work, for as long as a process does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

logger = structlog.get_logger(__name__)

RESTART_SECONDS = 1.0


@asynccontextmanager
async def background(*work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do each of these for as long as the block lasts."""
    tasks = [asyncio.create_task(lasting(one)) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Do it until cancelled. It never ends by itself; if it does, that is a bug to be seen, and it begins again."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("background_work_failed", work=getattr(work, "__qualname__", str(work)))
        await asyncio.sleep(RESTART_SECONDS)
