"""The only way from async code to rows: one named sync function, run on a small fixed set of threads."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection

P = ParamSpec("P")
R = TypeVar("R")

# The database is away, or too busy: the same may work later.
AWAY = (InterfaceError, OperationalError)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.ENGINE_THREADS, thread_name_prefix="engine")


@cache
def _thread_aside() -> ThreadPoolExecutor:
    # SQLite has one writer at a time in any case.
    return _threads() if settings.IS_SQLITE else ThreadPoolExecutor(1, thread_name_prefix="engine-aside")


@cache
def _threads_for_documents() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="engine-documents")


@contextmanager
def relaxed_durability() -> Iterator[None]:
    """Transactions in here survive the death of this process, but on SQLite not a power cut: they wait for no disk.

    For what the next start of the server finds out anyway; never for what somebody was told is stored.
    """
    if not settings.IS_SQLITE:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA synchronous={settings.SQLITE_SYNCHRONOUS}")


async def in_database(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Await `function(*args)` off the loop. Its connection is given back before this returns."""
    return await _run(_threads(), partial(function, *args, **kwargs))


async def in_database_aside(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_database`, for what must not wait behind the verbs of people, whose locks may take seconds."""
    return await _run(_thread_aside(), partial(function, *args, **kwargs))


async def in_database_of_documents(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_database`, for what may read for a tenth of a second: replies must not wait for it."""
    return await _run(_threads_for_documents(), partial(function, *args, **kwargs))


async def _run(threads: ThreadPoolExecutor, function: Callable[[], R]) -> R:
    def call() -> R:
        close_old_connections()
        try:
            return function()
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(threads, call)
