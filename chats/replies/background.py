"""Work that goes on beside other work, for as long as a process does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import structlog

from chats import doorbell

logger = structlog.get_logger(__name__)

RESTART_SECONDS = 1.0
END_SECONDS = 3.0


@asynccontextmanager
async def background(*work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do each of these for as long as the block lasts."""
    tasks = [asyncio.create_task(lasting(one)) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # What a library does not give up by then, as while the database is away, must not keep the process.
        await asyncio.wait(tasks, timeout=END_SECONDS)


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Do it until cancelled. It never ends by itself; if it does, that is a bug to be seen, and it begins again."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("background_work_failed", work=getattr(work, "__qualname__", str(work)))
        if is_cancelled():
            return
        await asyncio.sleep(RESTART_SECONDS)


def is_cancelled() -> bool:
    """Whether this task was told to end: a library may have made another error of it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def rings(topic: doorbell.Topic) -> Iterator[Callable[[float], Awaitable[None]]]:
    """What waits for the next ring of `topic`, at most so many seconds. One that came before counts."""
    has_rung = asyncio.Event()

    async def ring(seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await has_rung.wait()
        # Before the rows are looked at: what rings from now on is news again.
        has_rung.clear()

    end = doorbell.listen(topic, lambda _: has_rung.set())
    try:
        yield ring
    finally:
        end()
