"""Calling tools of servers for one run: connect on first use, look whether the tool is still as it was accepted, call.

A server that hangs costs the run MCP_CONNECT_SECONDS once, however often its tools are called.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from chats.errors import NotFound
from chats.tools.connections import Sessions
from chats.tools.discovery import take_up
from chats.tools.errors import CallRefused, ServerSilent, SignInNeeded, ToolServerError
from chats.tools.models import McpServer, Tool
from chats.tools.oauth.rows import note_accepted, note_refused
from chats.tools.oauth.tokens import AskRows, bearer_for, in_words, signed
from chats.tools.oauth.values import Bearer
from chats.tools.services import endpoint_of, is_at
from chats.tools.values import Endpoint, Found, OnProgress, Outcome

if TYPE_CHECKING:
    from chats.tools.client import Connection


TAKEN_AWAY = "This server was taken away, changed, or switched off."


class Caller:
    """Calls tools for one run, as the person it is for. Calls may be under way side by side."""

    def __init__(self, ask_rows: AskRows, *, user_id: UUID) -> None:
        self._ask_rows, self._user_id = ask_rows, user_id
        self._sessions = Sessions()
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._patience: dict[UUID, float] = {}
        self._usable: dict[UUID, Collection[UUID]] = {}  # tools, by the server that was looked at
        self._looked: dict[UUID, Connection] = {}  # over which connection
        self._failed: dict[UUID, ToolServerError] = {}
        self._endpoints: dict[UUID, Endpoint] = {}
        self._bearers: dict[UUID, Bearer | None] = {}  # of this person, by server
        self._began = timezone.now()

    async def call(self, tool: Tool, arguments: Mapping[str, Any], *, on_progress: OnProgress | None = None) -> Outcome:
        """What comes of the call. Raises ToolServerError, whose `is_begun` says whether it may have been begun."""
        server = tool.server
        connection = await self._connection(server)
        if tool.pk not in self._usable[server.pk]:
            raise CallRefused(_why_not(tool))
        seconds = min(server.call_seconds or settings.TOOL_CALL_SECONDS, settings.TOOL_CALL_MAX_SECONDS)

        async def ask() -> Outcome:
            # The client's own clock strikes first, and tells the server; this one holds when that is of no use.
            try:
                async with asyncio.timeout(seconds + 1):
                    return await connection.call(tool.name, arguments, seconds=seconds, on_progress=on_progress)
            except TimeoutError:
                words = f"{server.name} did not answer within {seconds:g} seconds."
                raise ServerSilent(words, is_begun=True) from None

        shown = self._bearers.get(server.pk)
        try:
            return await ask()
        except SignInNeeded as error:
            await self._sign_anew(server, error, connection.endpoint, shown)
        # Whoever is not let in has begun nothing, so this is no second call.
        self._sign(connection, server)
        try:
            return await ask()
        except SignInNeeded as error:
            raise await self._refused(server, error, connection.endpoint) from None

    async def close(self) -> None:
        await self._sessions.close()

    async def _connection(self, server: McpServer) -> "Connection":
        """A connection to a server whose tools were looked at."""
        async with self._locks.setdefault(server.pk, asyncio.Lock()):
            if failure := self._failed.get(server.pk):
                raise failure
            try:
                return await self._opened_in_time(server)
            except ToolServerError as error:
                if not isinstance(error, ServerSilent):
                    self._failed[server.pk] = error
                await self._note(server, error)
                error.is_begun = False  # of the call, which was to come after
                raise

    async def _opened_in_time(self, server: McpServer) -> "Connection":
        patience = self._patience.get(server.pk, settings.MCP_CONNECT_SECONDS)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(patience):
                await self._find_bearer(server)
                connection = await self._opened(server)
            # One that answers may be asked again, as a program that has died since.
            patience, began = settings.MCP_CONNECT_SECONDS, now()
            return connection
        except TimeoutError:
            words = f"{server.name} did not answer within {settings.MCP_CONNECT_SECONDS:g} seconds."
            raise ServerSilent(words) from None
        finally:
            self._patience[server.pk] = max(0.01, patience - (now() - began))

    async def _opened(self, server: McpServer) -> "Connection":
        endpoint: Endpoint = await self._ask_rows(endpoint_for_call, server.pk, self._user_id)
        self._endpoints[server.pk] = endpoint
        shown = self._bearers.get(server.pk)
        try:
            return await self._looked_at(server, endpoint)
        except SignInNeeded as error:
            self._sessions.forget(server.pk)
            await self._sign_anew(server, error, endpoint, shown)
        try:
            return await self._looked_at(server, endpoint)
        except SignInNeeded as error:
            raise in_words(error, endpoint, self._bearers.get(server.pk)) from None

    async def _looked_at(self, server: McpServer, endpoint: Endpoint) -> "Connection":
        bearer = self._bearers.get(server.pk)
        connection = await self._sessions.connection(server.pk, signed(endpoint, bearer))
        self._sign(connection, server)
        if self._looked.get(server.pk) is not connection:
            found = await connection.list_tools()
            asked = (look_again, server.pk, endpoint, self._user_id, bool(bearer), found)
            self._usable[server.pk] = await self._ask_rows(*asked)
            self._looked[server.pk] = connection
        return connection

    async def _find_bearer(self, server: McpServer) -> None:
        """Know the token of this person for a server, and have it refreshed when it is about to end."""
        bearer = self._bearers.get(server.pk)
        if server.pk not in self._bearers or (bearer is not None and bearer.is_stale(timezone.now())):
            self._bearers[server.pk] = await bearer_for(self._ask_rows, server.pk, self._user_id, began=self._began)

    async def _sign_anew(
        self, server: McpServer, error: SignInNeeded, endpoint: Endpoint, shown: Bearer | None
    ) -> None:
        """Get another token in the place of one that was refused. Raises SignInNeeded when that is of no use."""
        if shown is None or error.status != 401:
            raise await self._refused(server, error, endpoint)
        self._bearers[server.pk] = await bearer_for(
            self._ask_rows, server.pk, self._user_id, began=self._began, refused=shown.version
        )

    async def _refused(self, server: McpServer, error: SignInNeeded, endpoint: Endpoint) -> SignInNeeded:
        told = in_words(error, endpoint, self._bearers.get(server.pk))
        await self._note(server, told)
        return told

    async def _note(self, server: McpServer, error: ToolServerError) -> None:
        if endpoint := self._endpoints.get(server.pk):
            await self._ask_rows(note_failure, server.pk, endpoint, self._user_id, error)

    def _sign(self, connection: "Connection", server: McpServer) -> None:
        bearer = self._bearers.get(server.pk)
        if bearer is not None and bearer.origin == connection.endpoint.origin:
            connection.sign_with(bearer.token)


def _why_not(tool: Tool) -> str:
    """Why a tool that was offered is not called, after a look at its server."""
    who = "The people who run this site have" if tool.server.is_shared else "Its user has"
    return (
        f"{tool.server.name} does not offer {tool.name} any more, or describes it differently now. It was not called."
        f" {who} to look at it on the page of the server under Tools."
    )


def endpoint_for_call(server_id: UUID, user_id: UUID) -> Endpoint:
    """Where the server is by now. Raises CallRefused when it was taken away from this person, or switched off."""
    server = McpServer.objects.visible_to(User(pk=user_id)).filter(pk=server_id, enabled=True).first()
    if server is None:
        raise CallRefused(TAKEN_AWAY, is_personal=True)
    return endpoint_of(server)


def endpoint_for_look(server_id: UUID) -> tuple[Endpoint, UUID | None] | None:
    """Where the server is, on or off, and whose it is; None when it was taken away."""
    server = McpServer.objects.filter(pk=server_id).first()
    return (endpoint_of(server), server.user_id) if server else None


def look_again(server_id: UUID, endpoint: Endpoint, user_id: UUID, is_signed: bool, found: Found) -> Collection[UUID]:
    """Write down what was found, and return the tools that are as they were accepted. Raises CallRefused."""
    try:
        take_note(server_id, endpoint, user_id, found, is_signed=is_signed)
    except NotFound:
        raise CallRefused(TAKEN_AWAY, is_personal=True) from None
    names = [tool.name for tool in found.tools]
    return set(Tool.objects.filter(server=server_id, name__in=names).usable().values_list("pk", flat=True))


def take_note(server_id: UUID, endpoint: Endpoint, user_id: UUID | None, found: Found, *, is_signed: bool) -> None:
    """Write down what a person has found at a server that lets them in. Raises NotFound where it is no more."""
    # What a shared server shows to one of many who have signed in may not be all that it has.
    take_up(server_id, found, at=endpoint, is_all=not (endpoint.is_trusted and is_signed))
    if is_signed and user_id is not None:
        note_accepted(server_id, user_id)
    elif not is_signed:
        McpServer.objects.filter(pk=server_id, asks_sign_in=True).update(asks_sign_in=False)


def note_failure(server_id: UUID, endpoint: Endpoint, user_id: UUID | None, error: ToolServerError) -> None:
    """Let its person see what was wrong when it was needed there."""
    server = McpServer.objects.filter(pk=server_id).first()
    if server is None or not is_at(server, endpoint):
        return
    if isinstance(error, SignInNeeded):
        if error.status == 401 and not endpoint_of(server).has_authorization:
            McpServer.objects.filter(pk=server_id).update(asks_sign_in=True)
        if user_id is not None:
            note_refused(server_id, user_id, error)
        if server.is_shared and user_id is not None:
            # It lets others in.
            return
    if error.is_personal and server.is_shared:
        return
    said = f"{error.message} {error.detail}".strip()
    server.note(status_of(error), at=timezone.now(), error_message=said)


def status_of(error: ToolServerError) -> "McpServer.Status":
    return McpServer.Status.SIGN_IN if isinstance(error, SignInNeeded) else McpServer.Status.FAILED
