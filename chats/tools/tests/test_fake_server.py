"""The fake MCP server speaks the wire that the official client speaks, and what it is ordered to do wrong is seen."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from chats.tools.tests.fake_behaviour import NOTICES, PINGS, FakeTool, Fault, redirect
from chats.tools.tests.fake_server import FakeMcpServer

pytestmark = pytest.mark.rowless

ADD = FakeTool(
    "add",
    "Adds two numbers",
    schema={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    output_schema={"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]},
    title="Addition",
    annotations={"readOnlyHint": True},
    run=lambda given: {"content": [], "structuredContent": {"sum": given["a"] + given["b"]}},
)
ECHO = FakeTool("echo", run=lambda given: f"Echo: {given['text']}")


@pytest.fixture(scope="module")
def _server() -> Iterator[FakeMcpServer]:
    server = FakeMcpServer().start()
    yield server
    server.stop()


@pytest.fixture
def server(_server: FakeMcpServer) -> FakeMcpServer:
    _server.reset()
    _server.tools = [ADD, ECHO]
    return _server


@pytest.fixture
def eventually() -> Callable[..., Awaitable[bool]]:
    """`await eventually(server.wait_closed, 1)`: waits for the server's thread without stopping this loop."""
    return asyncio.to_thread


def connect(server: FakeMcpServer, **options: Any) -> Client:
    return Client(server.url, **{"mode": "legacy", **options})


async def ask(server: FakeMcpServer, method: str = "tools/list", **client: Any) -> httpx2.Response:
    """One request without any client of MCP, and without a session."""
    server.has_sessions = False
    async with httpx2.AsyncClient(timeout=client.pop("timeout", 5), **client) as http:
        return await http.post(server.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {}})


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("streams", [True, False])
async def test_tools_are_listed_and_called(server: FakeMcpServer, mode: str, streams: bool) -> None:
    server.streams = streams
    async with connect(server, mode=mode) as client:
        assert client.protocol_version == "2025-06-18"
        add, echo = (await client.list_tools()).tools
        assert (add.name, add.title, add.description, echo.name) == ("add", "Addition", "Adds two numbers", "echo")
        assert add.annotations.read_only_hint
        assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"sum": 5}
        assert (await client.call_tool("echo", {"text": "hi"})).content[0].text == "Echo: hi"
    assert server.called == [("add", {"a": 2, "b": 3}), ("echo", {"text": "hi"})]
    assert server.requests[-1].method == "DELETE"
    assert server.sessions == set()
    assert server.wait_idle()
    assert (server.closed, server.cancelled) == (0, [])


async def test_a_list_comes_in_pages(server: FakeMcpServer) -> None:
    server.tools, server.page_size = [FakeTool(f"tool-{n}") for n in range(5)], 2
    async with connect(server) as client:
        names, cursor = [], None
        while page := await client.list_tools(cursor=cursor):
            names.append([tool.name for tool in page.tools])
            if (cursor := page.next_cursor) is None:
                break
    assert names == [["tool-0", "tool-1"], ["tool-2", "tool-3"], ["tool-4"]]


@pytest.mark.parametrize(("kind", "cursors"), [("same", ["0", "0", "0"]), ("new", ["2", "4", "6"])])
async def test_pages_may_have_no_end(server: FakeMcpServer, kind: str, cursors: list[str]) -> None:
    server.endless_pages = kind
    async with connect(server) as client:
        seen: list[str] = []
        for _ in cursors:
            seen.append((await client.list_tools(cursor=seen[-1] if seen else None)).next_cursor)
    assert seen == cursors


async def test_progress_comes_before_the_answer(server: FakeMcpServer) -> None:
    gate = threading.Event()
    server.tools = [FakeTool("slow", progress=[(1, 2, "Half"), (2, 2, None)], gate=gate)]
    heard: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

    async def hear(*step: Any) -> None:
        heard.put_nowait(step)

    async with connect(server) as client:
        call = asyncio.create_task(client.call_tool("slow", progress_callback=hear))
        assert [await heard.get(), await heard.get()] == [(1, 2, "Half"), (2, 2, None)]
        assert not call.done()
        gate.set()
        assert (await call).content[0].text == "Done"


async def test_a_tool_fails_in_its_result_and_an_unknown_one_on_the_wire(server: FakeMcpServer) -> None:
    server.tools = [FakeTool("broken", run="No such city", is_error=True)]
    async with connect(server) as client:
        result = await client.call_tool("broken")
        assert (result.is_error, result.content[0].text) == (True, "No such city")
        with pytest.raises(MCPError, match="Unknown tool: missing"):
            await client.call_tool("missing")


@pytest.mark.parametrize("heeds", [True, False])
async def test_a_call_that_times_out_is_cancelled(server: FakeMcpServer, eventually, heeds: bool) -> None:
    server.tools = [FakeTool("slow", gate=threading.Event(), heeds_cancel=heeds)]
    async with connect(server) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("slow", read_timeout_seconds=0.05)
        assert await eventually(server.wait_cancelled)
        assert await eventually(server.wait_idle, 5 if heeds else 0) is heeds
    assert await eventually(server.wait_idle)
    assert (server.calls["slow"], server.closed) == (1, 0 if heeds else 1)
    assert server.cancelled == [server.received("tools/call")[0].body["id"]]


async def test_a_call_on_which_the_client_hangs_up_is_cancelled(server: FakeMcpServer, eventually) -> None:
    server.tools = [FakeTool("slow", gate=threading.Event())]
    server.has_sessions = False
    async with httpx2.AsyncClient() as http:
        body = {"jsonrpc": "2.0", "id": "my-call", "method": "tools/call", "params": {"name": "slow"}}
        call = asyncio.create_task(http.post(server.url, json=body))
        assert await eventually(server.wait_calls, "slow")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await eventually(server.wait_closed)
    assert server.cancelled == ["my-call"]


async def test_a_changed_list_is_announced_in_a_call_and_to_listeners(server: FakeMcpServer, eventually) -> None:
    server.tools, server.listens = [FakeTool("grow", changes_tools=[ADD])], True
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(message.method)

    async with connect(server, message_handler=hear) as client:
        await client.call_tool("grow")
        assert await heard.get() == "notifications/tools/list_changed"
        assert [tool.name for tool in (await client.list_tools()).tools] == ["add"]
        assert await eventually(server.wait_listening)
        server.notify()
        assert await heard.get() == "notifications/tools/list_changed"


async def test_a_tool_may_ask_the_client(server: FakeMcpServer) -> None:
    asks = [
        ("elicitation/create", {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}),
        ("roots/list", {}),
    ]
    server.tools = [FakeTool("curious", asks=asks)]

    async def answer(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async with connect(server, elicitation_callback=answer) as client:
        await client.call_tool("curious")
    asked, *refused = server.replies
    assert asked["result"]["content"] == {"name": "Ada"}
    assert [reply["error"]["code"] for reply in refused] == [types.INVALID_REQUEST] * 2


async def test_a_forgotten_session_is_refused(server: FakeMcpServer) -> None:
    async with connect(server) as client:
        server.forget_sessions()
        with pytest.raises(MCPError, match="Session terminated"):
            await client.list_tools()
    assert (await ask(server)).status_code == 200


async def test_a_required_header_opens_the_door(server: FakeMcpServer) -> None:
    server.require_header("Authorization", "Bearer x", challenge='Bearer scope="tools"')
    refused = await ask(server)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer scope="tools"')
    async with httpx2.AsyncClient(headers={"Authorization": "Bearer x"}) as http:
        server.has_sessions = True
        async with Client(streamable_http_client(server.url, http_client=http), mode="legacy") as client:
            assert len((await client.list_tools()).tools) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=502, body="<h1>Bad gateway</h1>"),
        Fault(status=404),
        Fault(body=b"{oops", headers={"Content-Type": "application/json"}),
        Fault(body={"hello": "world"}),
        Fault(raw=b"data: {oops\n\n"),
        Fault(raw=b""),
        Fault(raw=PINGS, drop=True),
        Fault(error={"code": -32603, "message": "On fire"}),
        redirect("http://other.example/mcp"),
        redirect("/mcp/", 302),
        redirect("/mcp"),
    ],
)
async def test_a_faulty_answer_is_an_error_and_then_all_is_well(server: FakeMcpServer, fault: Fault) -> None:
    async with connect(server) as client:
        server.order("tools/call", fault)
        with pytest.raises(MCPError):
            await client.call_tool("echo", {"text": "hi"})
        assert server.calls["echo"] >= 1
        server.order("tools/call", Fault())
        assert not (await client.call_tool("echo", {"text": "hi"})).is_error


@pytest.mark.parametrize(
    "fault",
    [Fault(write_bytes=1), Fault(gzip=True), Fault(gzip=True, streams=False), Fault(streams=False, chunked=True)],
)
async def test_a_strange_answer_is_an_answer(server: FakeMcpServer, fault: Fault) -> None:
    server.order("*", fault)
    async with connect(server) as client:
        assert (await client.call_tool("echo", {"text": "hi"})).content[0].text == "Echo: hi"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(hang=True),
        Fault(raw=PINGS, hang=True),
        Fault(drip_head=True),
        Fault(flood=PINGS),
        Fault(flood=NOTICES),
        Fault(flood=b" ", flood_type="application/json"),
        Fault(write_bytes=1, write_seconds=0.01, padding_bytes=10_000),
    ],
)
@pytest.mark.parametrize("place", ["initialize", "tools/list", "tools/call"])
async def test_an_endless_answer_ends_when_the_client_hangs_up(
    server: FakeMcpServer, eventually, place: str, fault: Fault
) -> None:
    server.order(place, fault)
    post = asyncio.create_task(ask(server, place, timeout=None))
    assert await eventually(server.wait_requests)
    post.cancel()
    with pytest.raises(asyncio.CancelledError):
        await post
    assert await eventually(server.wait_closed)
    assert server.active == 0


async def test_a_connection_can_hang_or_close_before_anything_is_asked(server: FakeMcpServer, eventually) -> None:
    server.order("connect", Fault(hang=True), times=1)
    with pytest.raises(httpx2.ReadTimeout):
        await ask(server, timeout=0.05)
    assert await eventually(server.wait_closed)
    server.order("connect", Fault(drop=True), times=1)
    with pytest.raises(httpx2.TransportError):
        await ask(server)
    assert (server.requests, server.connections) == ([], 2)
    assert (await ask(server)).status_code == 200


async def test_an_answer_can_be_long_or_meant_for_someone_else(server: FakeMcpServer) -> None:
    server.order("tools/list", Fault(padding_bytes=3_000_000))
    async with connect(server) as client:
        with pytest.raises(MCPError, match="exceeded the 1048576 byte limit"):
            await client.list_tools()
        server.streams = False
        assert len((await client.list_tools()).meta["padding"]) == 3_000_000
        server.order("tools/call", Fault(is_id_wrong=True))
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("echo", {"text": "hi"}, read_timeout_seconds=0.05)
