"""Connections of one run to the servers whose tools it calls: each opened on first use, all closed with it.

A connection lives in a task of its own, as the client of MCP wants to be left where it was entered.
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from django.conf import settings

from chats.tools.apart import leave
from chats.tools.errors import ServerSilent, ServerUnreachable, ToolServerError
from chats.tools.values import Endpoint, Found

if TYPE_CHECKING:
    from chats.tools.client import Connection

R = TypeVar("R")

# How long a server may take to say goodbye.
CLOSE_SECONDS = 1.0
# And a program to end, which is asked, told and then killed (`chats.tools.program`).
PROGRAM_END_SECONDS = 8.0


async def client_module() -> ModuleType:
    """`chats.tools.client`, which takes a second to load, and 30 MB."""
    return await asyncio.to_thread(importlib.import_module, "chats.tools.client")


class Session:
    """One server, from hello to goodbye."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._opened: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._is_over = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"mcp:{endpoint.name}")

    async def connection(self) -> "Connection":
        """Once it is there. Raises ToolServerError when it does not come about."""
        return await asyncio.shield(self._opened)

    @property
    def is_dead(self) -> bool:
        opened = self._opened
        is_over = opened.done() and opened.exception() is None and opened.result().is_over
        return self._task.done() or is_over

    def close(self) -> asyncio.Task[None]:
        self._is_over.set()
        if not self._opened.done():
            # Whoever has not said hello by now need not say goodbye.
            self._task.cancel()
        return self._task

    async def _live(self) -> None:
        try:
            module = await client_module()
            connected: AbstractAsyncContextManager[Connection] = module.connected(self._endpoint)
            async with connected as connection:
                self._opened.set_result(connection)
                await self._is_over.wait()
        except ToolServerError as error:
            self._fail(error)
        finally:
            # However it ended, nobody waits for it in vain.
            self._fail(ServerUnreachable(f"{self._endpoint.name} was not waited for."))

    def _fail(self, error: ToolServerError) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            # Nobody may be waiting any more.
            self._opened.exception()


class Sessions:
    """The servers that one run has met so far, by their id."""

    def __init__(self) -> None:
        self._sessions: dict[UUID, Session] = {}
        self._left: set[asyncio.Task[None]] = set()  # those that say goodbye already

    async def connection(self, server_id: UUID, endpoint: Endpoint) -> "Connection":
        """A connection to this server. Whoever does not wait for it any more finds it later. Raises ToolServerError."""
        session = self._sessions.get(server_id)
        if session is None or session.is_dead:
            self.forget(server_id)
            session = self._sessions[server_id] = Session(endpoint)
        return await session.connection()

    def forget(self, server_id: UUID) -> None:
        """Have the next connection to this server be a new one."""
        if session := self._sessions.pop(server_id, None):
            self._left.add(session.close())

    async def close(self, *, seconds: float = CLOSE_SECONDS) -> None:
        """Say goodbye to all, within so many seconds."""
        tasks = {session.close() for session in self._sessions.values()} | self._left
        self._sessions, self._left = {}, set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                leave(task)


async def once(endpoint: Endpoint, ask: "Callable[[Connection], Awaitable[R]]", *, seconds: float) -> R:
    """Connect, ask and say goodbye, within so many seconds altogether. Raises ToolServerError."""
    sessions = Sessions()
    try:
        async with asyncio.timeout(seconds):
            connection = await sessions.connection(UUID(int=0), endpoint)
            return await ask(connection)
    except TimeoutError:
        raise ServerSilent(f"{endpoint.name} did not answer within {seconds:g} seconds.") from None
    finally:
        # The loop of a look may end with it, and then nobody is left to see a program end.
        await sessions.close(seconds=PROGRAM_END_SECONDS if endpoint.command else CLOSE_SECONDS)


async def look_at(endpoint: Endpoint, *, seconds: float | None = None) -> Found:
    """What a server offers, asked for at most so long, or else MCP_TEST_SECONDS. Raises ToolServerError."""
    seconds = seconds or settings.MCP_TEST_SECONDS
    return await once(endpoint, lambda connection: connection.list_tools(), seconds=seconds)
