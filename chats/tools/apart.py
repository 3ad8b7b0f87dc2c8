"""Work of a library that may not let itself be cancelled at once: whoever waits for it may leave all the same."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

_LATE: set[asyncio.Future[Any]] = set()


async def apart(work: Coroutine[Any, Any, R]) -> R:
    """What comes of `work`. If this is cancelled, so is `work`, whose end nobody waits for."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        leave(task)
        raise


def leave(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and let it take its time."""
    task.cancel()
    if not task.done():
        _LATE.add(task)
        task.add_done_callback(_forget)


def _forget(task: asyncio.Future[Any]) -> None:
    _LATE.discard(task)
    if not task.cancelled():
        # Seen, so that nobody is told of what nobody waits for.
        task.exception()
