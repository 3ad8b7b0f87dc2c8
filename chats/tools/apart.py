"""What becomes of work when whoever waits for it is cancelled: three answers, each with its reason."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

_under_way: set[asyncio.Task[Any]] = set()


async def apart(work: Coroutine[Any, Any, R]) -> R:
    """What comes of `work`. If this is cancelled, so is `work`, whose end nobody waits for.

    For a library that may not let itself be cancelled at once.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        leave(task)
        raise


async def to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """What comes of `work`, which goes on when this is cancelled.

    For what would be lost, as what an issuer has given out before it is stored.
    """
    return await asyncio.shield(begun(work))


def begun(work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """`work` as a task that goes on whoever waits for it."""
    return _kept(asyncio.create_task(work))


async def uncancelled(work: Coroutine[Any, Any, R]) -> R:
    """What comes of `work`. If this is cancelled, however often, it waits for the end of `work` first.

    For rows that are being written: what is done next has to know of them.
    """
    task = begun(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def leave(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and let it take its time."""
    task.cancel()
    _kept(task)


def _kept(task: asyncio.Task[R]) -> asyncio.Task[R]:
    """The loop itself holds on to no task; and whatever this one comes to, nobody may be left to hear of it."""
    _under_way.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()
