"""Who may use how many threads at once: one person's many requests must leave some to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any


@dataclass
class _Queue:
    turns: asyncio.Semaphore
    users: int = 0


class Turns:
    """`async with turns.of(key)`: at most so many of one key at a time; the rest wait, in their order."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        queue = self._queues.setdefault(key, _Queue(asyncio.Semaphore(self._most)))
        queue.users += 1
        try:
            async with queue.turns:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[key]


def credential_of(scope: Any, *, session_cookie: str) -> str:
    """What a request shows of who asks, unverified: its key or session; else where it comes from."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TELLING}
    if authorization := headers.get(b"authorization"):
        return authorization
    try:
        session = SimpleCookie(headers.get(b"cookie", "")).get(session_cookie)
    except CookieError:
        session = None
    client = scope.get("client") or ("",)
    return session.value if session else str(client[0])


_TELLING = (b"authorization", b"cookie")
