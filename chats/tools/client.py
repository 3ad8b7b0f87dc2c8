"""Connections to servers, in the values of this room. With `program`, the only place that knows the package `mcp`.

Loaded on first use, off the event loop, as loading takes a second (`chats.tools.connections`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import mcp_types as types
from django.conf import settings
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from chats.cleaning import clean_text
from chats.tools.addresses import policy_for
from chats.tools.apart import apart
from chats.tools.content import outcome_of
from chats.tools.errors import CallRefused, ServerNonsense, ServerSilent, ServerUnreachable, ToolServerError
from chats.tools.last_words import last_words
from chats.tools.program import Program, running
from chats.tools.transport import GuardedTransport
from chats.tools.values import Endpoint, Found, FoundTool, OnProgress, Outcome
from chats.tools.washing import LEFT_OUT

REDIRECTS_MAX = 3
PAGES_MAX = 20
WORDS_MAX_CHARACTERS = 500
# Words of JSON-RPC for a request that was not even begun. INVALID_REQUEST the client says itself, of any odd answer.
_NOT_BEGUN = frozenset([types.INVALID_PARAMS, types.METHOD_NOT_FOUND])
_RESULT: TypeAdapter[Any] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)


class Connection:
    """A server that has said hello. Any task may ask it; many calls may be under way."""

    def __init__(self, endpoint: Endpoint, client: Client, wire: "Wire") -> None:
        self.endpoint = endpoint
        self._client, self._wire = client, wire

    def sign_with(self, token: str) -> None:
        """Show this token from the next request on. Calls that are under way have been let in, and go on."""
        if isinstance(self._wire, OverHttp):
            self._wire.client.headers["Authorization"] = f"Bearer {token}"

    @property
    def is_over(self) -> bool:
        """Whether nobody answers on it any more."""
        return isinstance(self._wire, Program) and self._wire.is_over

    @property
    def about(self) -> dict[str, str]:
        info = self._client.server_info
        said = {"name": info.title or info.name, "version": info.version} if info else {"name": "", "version": ""}
        return {
            name: clean_text(text)[:100] for name, text in {**said, "protocol": self._client.protocol_version}.items()
        }

    async def list_tools(self) -> Found:
        """What it offers, up to the limits. Raises ToolServerError."""
        most, left_out = settings.TOOLS_PER_SERVER, 0
        tools: list[types.Tool] = []
        cursor: str | None = None
        try:
            for _ in range(PAGES_MAX):
                request = types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor))
                page = await apart(self._client.session.send_request(request, types.ListToolsResult))
                tools += page.tools
                left_out += int((page.meta or {}).get(LEFT_OUT, 0))
                cursor = page.next_cursor
                if not cursor or len(tools) > most:
                    break
        except Exception as error:  # noqa: BLE001 - whatever the package makes of what a stranger sends
            raise self.failure_of(error) from None
        notices = []
        if len(tools) > most or cursor:
            notices.append(f"It offers more than the {most} tools that are taken; the rest are off.")
        if left_out:
            notices.append(f"{left_out} of its tools make no sense, and were left out.")
        return Found([_tool_of(tool) for tool in tools[:most]], self.about, notices)

    async def call(
        self, name: str, arguments: Mapping[str, Any], *, seconds: float, on_progress: OnProgress | None = None
    ) -> Outcome:
        """Have a tool called, and wait for what comes of it. Raises ToolServerError. Cancelling it tells the server."""

        async def pass_on(progress: float, total: float | None, message: str | None) -> None:
            if on_progress is not None:
                await on_progress(progress, total, clean_text(message or "")[:WORDS_MAX_CHARACTERS])

        request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=dict(arguments)))
        try:
            # Not `Client.call_tool`, which checks results against the server's schema: its patterns may take for ever.
            result = await apart(
                self._client.session.send_request(
                    request, _RESULT, request_read_timeout_seconds=seconds, progress_callback=pass_on
                )
            )
        except Exception as error:  # noqa: BLE001 - whatever the package makes of what a stranger sends
            raise self.failure_of(error, seconds=seconds) from None
        if isinstance(result, types.InputRequiredResult):
            raise ServerNonsense(f"{self.endpoint.name} wants to ask you something, which Parley does not support.")
        return await asyncio.to_thread(_outcome_of, result)

    def failure_of(self, error: BaseException, *, seconds: float | None = None) -> ToolServerError:
        """What went wrong, as people may read it. Nothing of what was sent is in it."""
        return failure_of(error, self._wire, name=self.endpoint.name, seconds=seconds)


def _outcome_of(result: types.CallToolResult) -> Outcome:
    blocks = [block.model_dump(by_alias=True, mode="json", exclude_none=True) for block in result.content]
    return outcome_of(blocks, structured=result.structured_content, is_error=result.is_error)


def failure_of(
    error: BaseException, wire: "Wire | None", *, name: str, seconds: float | None = None
) -> ToolServerError:
    """As people may read it: the wire's own, or what the client of MCP makes of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(wire, OverHttp) and (known := wire.transport.failure_in(str(error))):
        return known
    match error:
        case ToolServerError():
            return error
        case MCPError() if error.error.code == types.CONNECTION_CLOSED and wire and wire.last_failure:
            # A stream that ends in a failure is to the client one that ends.
            return wire.last_failure
        case MCPError():
            return _failure_said(error.error, name=name, seconds=seconds)
        case TimeoutError():
            return ServerSilent(f"{name} did not answer in time.", is_begun=True)
        case OSError():
            return ServerUnreachable(
                f"{name} can't be started or reached.", detail=f"({error.strerror})" if error.strerror else ""
            )
    return _nonsense_of(error, name=name)


def _nonsense_of(error: BaseException, *, name: str) -> ServerNonsense:
    """What the package makes of what is not as it should be."""
    if isinstance(error, ValidationError):
        return ServerNonsense(f"{name} answered with something that is not MCP.", is_begun=True)
    if isinstance(error, RuntimeError) and "protocol version" in str(error).lower():
        return ServerNonsense(f"{name} speaks a version of MCP that Parley does not speak.")
    return ServerNonsense(f"{name} broke off ({type(error).__name__}).", is_begun=True)


def _failure_said(error: types.ErrorData, *, name: str, seconds: float | None) -> ToolServerError:
    """What an error of JSON-RPC means, which may be one of the client's own."""
    if error.code == types.REQUEST_TIMEOUT:
        said = f" within {seconds:g} seconds" if seconds else " in time"
        return ServerSilent(f"{name} did not answer{said}.", is_begun=True)
    if error.code == types.CONNECTION_CLOSED:
        return ServerUnreachable(f"{name} closed the connection before it was done.", is_begun=True)
    if error.code == types.PARSE_ERROR:
        return ServerNonsense(f"{name} answered with something that is not MCP.", is_begun=True)
    if error.code in _NOT_BEGUN:
        return CallRefused(f"{name} refused: «{_words(error.message)}».")
    return ServerNonsense(f"{name} failed: «{_words(error.message)}».", is_begun=True)


@dataclass(frozen=True, slots=True)
class OverHttp:
    """The wire to a server that is reached over HTTP."""

    url: str
    transport: GuardedTransport
    client: httpx2.AsyncClient

    @property
    def streams(self) -> AbstractAsyncContextManager[Any]:
        most = settings.TOOL_ANSWER_MAX_BYTES
        return streamable_http_client(self.url, http_client=self.client, max_sse_event_size=most)

    @property
    def last_failure(self) -> ToolServerError | None:
        return self.transport.last_failure


Wire = OverHttp | Program


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts, in one task. Raises ToolServerError when it does not come about."""
    wire: Wire | None = None
    try:
        async with _wire_to_program(endpoint) if endpoint.command else _wire_over_http(endpoint) as wire:
            client = Client(
                wire.streams,
                mode="legacy" if endpoint.is_old else "auto",
                read_timeout_seconds=settings.TOOL_CALL_SECONDS,
                client_info=types.Implementation(name="parley", title="Parley", version=settings.VERSION),
                cache=None,
            )
            async with client:
                yield Connection(endpoint, client, wire)
    except ToolServerError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the package makes of what a stranger sends
        raise _no_server(failure_of(error, wire, name=endpoint.name), endpoint) from None


def _no_server(failure: ToolServerError, endpoint: Endpoint) -> ToolServerError:
    """Whoever refuses to be greeted is no such server."""
    if isinstance(failure, CallRefused):
        return ServerNonsense(f"{endpoint.name} does not speak MCP at this address. Check its path.")
    return failure


@asynccontextmanager
async def _wire_over_http(endpoint: Endpoint) -> AsyncIterator[OverHttp]:
    transport = GuardedTransport(
        policy_for(is_trusted=endpoint.is_trusted),
        connect_seconds=settings.MCP_CONNECT_SECONDS,
        max_bytes=settings.TOOL_ANSWER_MAX_BYTES,
        max_lines=settings.TOOL_ANSWER_MAX_LINES,
    )
    client = httpx2.AsyncClient(
        transport=transport,
        headers=dict(endpoint.headers),
        timeout=httpx2.Timeout(settings.MCP_CONNECT_SECONDS, read=settings.TOOL_CALL_MAX_SECONDS),
        trust_env=False,
        follow_redirects=False,
        max_redirects=REDIRECTS_MAX,
    )
    async with client:
        yield OverHttp(endpoint.url, transport, client)


@asynccontextmanager
async def _wire_to_program(endpoint: Endpoint) -> AsyncIterator[Program]:
    program: Program | None = None
    async with last_words(endpoint) as words:
        try:
            async with running(endpoint, stderr=words.stderr) as program:
                yield program
        except Exception as error:  # noqa: BLE001 - whatever the package makes of what a program does
            failure = failure_of(error, program, name=endpoint.name)
            failure.detail = await words.said() or failure.detail
            raise failure from None


def _tool_of(tool: types.Tool) -> FoundTool:
    annotations = tool.annotations.model_dump(by_alias=True, mode="json", exclude_none=True) if tool.annotations else {}
    return FoundTool(
        name=clean_text(tool.name),
        title=clean_text(tool.title or str(annotations.get("title", "") or "")),
        description=clean_text(tool.description or ""),
        input_schema=tool.input_schema,
        annotations=annotations,
    )


def _words(text: str) -> str:
    """A server's own words, on one line."""
    return " ".join(clean_text(text[:WORDS_MAX_CHARACTERS]).split())
