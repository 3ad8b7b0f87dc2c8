"""Calling tools of servers for one run: connect on first use, look whether the tool is still as it was accepted, call.

A server that hangs costs the run MCP_CONNECT_SECONDS once, however often its tools are called.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from chats.tools.connections import Sessions
from chats.tools.discovery import take_up
from chats.tools.errors import CallRefused, ServerSilent, ToolServerError
from chats.tools.models import McpServer, Tool
from chats.tools.services import endpoint_of
from chats.tools.values import Endpoint, Found, OnProgress, Outcome

if TYPE_CHECKING:
    from chats.tools.client import Connection


class AskRows(Protocol):
    """Runs a sync function that reads or writes rows off the event loop (`chats.replies.database.in_database`)."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]: ...


class Caller:
    """Calls tools for one run. Calls may be under way side by side."""

    def __init__(self, ask_rows: AskRows) -> None:
        self._ask_rows = ask_rows
        self._sessions = Sessions()
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._patience: dict[UUID, float] = {}
        self._usable: dict[UUID, Collection[UUID]] = {}  # tools, by the server that was looked at
        self._failed: dict[UUID, ToolServerError] = {}

    async def call(self, tool: Tool, arguments: Mapping[str, Any], *, on_progress: OnProgress | None = None) -> Outcome:
        """What comes of the call. Raises ToolServerError, whose `is_begun` says whether it may have been begun."""
        server = tool.server
        connection = await self._connection(server)
        if tool.pk not in self._usable[server.pk]:
            raise CallRefused(
                f"{server.name} offers {tool.name} no more, or differently. Its owner must look at it first."
            )
        seconds = min(server.call_seconds or settings.TOOL_CALL_SECONDS, settings.TOOL_CALL_MAX_SECONDS)
        # The client's own clock strikes first, and tells the server; this one holds when that is of no use.
        async with asyncio.timeout(seconds + 1):
            return await connection.call(tool.name, arguments, seconds=seconds, on_progress=on_progress)

    async def close(self) -> None:
        await self._sessions.close()

    async def _connection(self, server: McpServer) -> "Connection":
        """A connection to a server whose tools were looked at."""
        async with self._locks.setdefault(server.pk, asyncio.Lock()):
            if failure := self._failed.get(server.pk):
                raise failure
            patience = self._patience.get(server.pk, settings.MCP_CONNECT_SECONDS)
            now = asyncio.get_running_loop().time
            began = now()
            try:
                async with asyncio.timeout(patience):
                    return await self._opened(server, patience)
            except TimeoutError:
                failure = ServerSilent(f"{server.name} did not answer within {settings.MCP_CONNECT_SECONDS:g} seconds.")
                await self._note_failure(server, failure)
                raise failure from None
            except ToolServerError as error:
                if not isinstance(error, ServerSilent):
                    self._failed[server.pk] = error
                await self._note_failure(server, error)
                raise
            finally:
                self._patience[server.pk] = max(0.01, patience - (now() - began))

    async def _opened(self, server: McpServer, seconds: float) -> "Connection":
        endpoint: Endpoint = await self._ask_rows(endpoint_for_call, server.pk)
        connection = await self._sessions.connection(server.pk, endpoint, seconds=seconds)
        if server.pk not in self._usable:
            found = await connection.list_tools()
            self._usable[server.pk] = await self._ask_rows(look_again, server, found)
        return connection

    async def _note_failure(self, server: McpServer, error: ToolServerError) -> None:
        await self._ask_rows(note_failure, server.pk, error)


def endpoint_for_call(server_id: UUID) -> Endpoint:
    """Where the server is by now. Raises CallRefused when it was taken away or switched off."""
    server = McpServer.objects.filter(pk=server_id, enabled=True).first()
    if server is None:
        raise CallRefused("This server was taken away, or switched off.")
    return endpoint_of(server)


def endpoint_for_look(server_id: UUID) -> Endpoint | None:
    """Where the server is, on or off; None when it was taken away."""
    server = McpServer.objects.filter(pk=server_id).first()
    return endpoint_of(server) if server else None


def look_again(server: McpServer, found: Found) -> Collection[UUID]:
    """Write down what was found, and return the tools that are as they were accepted."""
    take_up(server, found)
    return set(Tool.objects.filter(server=server).usable().values_list("pk", flat=True))


def note_failure(server_id: UUID, error: ToolServerError) -> None:
    """Let its person see what was wrong when it was needed."""
    server = McpServer.objects.filter(pk=server_id).first()
    if server is not None:
        server.note(status_of(error), at=timezone.now(), error_message=error.message)


def status_of(error: ToolServerError) -> "McpServer.Status":
    return McpServer.Status.SIGN_IN if error.code == "tool_server_sign_in" else McpServer.Status.FAILED
