"""A look at a server, whatever it does: within its time, within bounded memory, and nowhere it may not go."""

import asyncio
import contextlib
import json
import time
import tracemalloc
from typing import Any

import pytest

from chats.tools.connections import look_at, once
from chats.tools.errors import ServerNonsense, ServerSilent, ServerUnreachable, SignInNeeded, ToolServerError
from chats.tools.tests.fake_behaviour import NOTICES, PINGS, redirect
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool, Fault
from chats.tools.values import Endpoint

pytestmark = pytest.mark.rowless

READ = FakeTool("read", "Reads", annotations={"readOnlyHint": True})


@pytest.fixture
def endpoint(mcp: FakeMcpServer, settings: Any) -> Endpoint:
    settings.MCP_TEST_SECONDS = 3
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    mcp.tools = [READ]
    return Endpoint(name="Fake", url=mcp.url)


async def names(endpoint: Endpoint) -> list[str]:
    return [tool.name for tool in (await look_at(endpoint)).tools]


async def test_it_tells_what_there_is(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    found = await look_at(endpoint)
    (tool,) = found.tools
    assert (tool.name, tool.description, tool.annotations) == ("read", "Reads", {"readOnlyHint": True})
    assert found.about["name"] == "fake"
    assert mcp.wait_idle()
    assert [request.method for request in mcp.requests][-1] == "DELETE"


@pytest.mark.parametrize("place", ["*", "initialize", "tools/list", "notifications/initialized", "connect"])
async def test_a_server_that_hangs_is_given_up_in_time(
    endpoint: Endpoint, mcp: FakeMcpServer, place: str, settings: Any
) -> None:
    settings.MCP_TEST_SECONDS = 0.5
    mcp.order(place, Fault(hang=True))
    began = time.monotonic()
    with pytest.raises(ServerSilent):
        await look_at(endpoint)
    assert time.monotonic() - began < 10


async def test_a_server_that_hangs_at_the_goodbye_does_not_matter(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    mcp.order("DELETE", Fault(hang=True))
    assert await names(endpoint) == ["read"]


async def test_ten_thousand_tools_are_a_hundred_and_twenty_eight(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    mcp.tools = [FakeTool(f"tool-{n}") for n in range(10_000)]
    found = await look_at(endpoint)
    assert len(found.tools) == 128
    assert found.notices == ["It offers more than the 128 tools that are taken; the rest are off."]


@pytest.mark.parametrize("pages", ["new", "same"])
async def test_a_list_without_end_ends(endpoint: Endpoint, mcp: FakeMcpServer, pages: str) -> None:
    mcp.page_size, mcp.endless_pages = 1, pages
    found = await look_at(endpoint)
    assert len(found.tools) <= 128
    assert len(mcp.received("tools/list")) <= 128


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=401), SignInNeeded),
        (Fault(status=403), SignInNeeded),
        (Fault(status=502, body="<h1>Bad gateway</h1>"), ServerUnreachable),
        (Fault(drop=True), ServerUnreachable),
        (Fault(gzip=True), ServerNonsense),
        (Fault(padding_bytes=50_000_000, streams=False), ServerNonsense),
        (Fault(padding_bytes=50_000_000, streams=True), ToolServerError),
        (Fault(flood=PINGS, flood_type="text/event-stream"), ToolServerError),
        (Fault(flood=NOTICES, flood_type="text/event-stream"), ToolServerError),
        (Fault(flood=b"x" * 1_000_000, flood_type="application/json"), ServerNonsense),
        (Fault(raw=b"data: {nonsense\n\n"), ServerNonsense),
        (Fault(drip_head=True), ToolServerError),
        (redirect("http://10.0.0.1/mcp"), ToolServerError),
        (redirect("http://169.254.169.254/latest/meta-data/"), ToolServerError),
        (redirect("http://elsewhere.example/mcp"), ToolServerError),
        (redirect("http://[broken:::/"), ServerNonsense),
    ],
    ids=lambda value: "" if isinstance(value, Fault) else value.__name__,
)
async def test_whatever_it_answers_there_is_one_sentence(
    endpoint: Endpoint, mcp: FakeMcpServer, fault: Fault, error: type[ToolServerError]
) -> None:
    mcp.order("*", fault)
    tracemalloc.start()
    try:
        with pytest.raises(error) as raised:
            await look_at(endpoint)
        assert raised.value.message.endswith((".", "?"))
        assert len(raised.value.message) < 700
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What a fake pads with it has in its own memory, which is this process's.
    assert peak < 40_000_000 or fault.padding_bytes


async def test_a_redirect_inwards_is_not_followed(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    inner = FakeMcpServer().start()
    try:
        mcp.order("*", redirect(inner.url.replace("127.0.0.1", "localhost")))
        with pytest.raises(ToolServerError):
            await look_at(endpoint)
        assert inner.connections == 0
    finally:
        inner.stop()


async def test_a_redirect_in_a_circle_ends(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    mcp.order("*", redirect(mcp.url))
    with pytest.raises(ToolServerError):
        await look_at(endpoint)
    assert len(mcp.requests) < 20


@pytest.mark.parametrize("allowed", [[], ["elsewhere.example"], ["127.0.0.1:1"]])
async def test_an_address_inside_is_not_connected_to(
    endpoint: Endpoint, mcp: FakeMcpServer, allowed: list[str], settings: Any
) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = allowed
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ServerUnreachable, match="private address"):
            await look_at(Endpoint(name="Fake", url=mcp.url.replace("127.0.0.1", host)))
    assert mcp.connections == 0


async def test_a_host_may_be_allowed_with_its_port(endpoint: Endpoint, mcp: FakeMcpServer, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = [mcp.url.split("/")[2]]
    assert await names(endpoint) == ["read"]


async def test_headers_go_to_the_server_and_what_it_says_of_them_does_not_come_back(
    endpoint: Endpoint, mcp: FakeMcpServer
) -> None:
    mcp.require_header("Authorization", "Bearer right")
    with pytest.raises(SignInNeeded) as raised:
        await look_at(Endpoint(name="Fake", url=mcp.url, headers={"Authorization": "Bearer wrong-canary"}))
    assert "canary" not in str(raised.value)
    assert await names(Endpoint(name="Fake", url=mcp.url, headers={"Authorization": "Bearer right"})) == ["read"]


async def test_it_may_be_cancelled_at_any_time(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    mcp.order("tools/list", Fault(hang=True))
    looking = asyncio.create_task(look_at(endpoint))
    assert await asyncio.to_thread(mcp.wait_requests, 3)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert await asyncio.to_thread(mcp.wait_idle)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "odd"},
        {"name": 7, "inputSchema": {"type": "object"}},
        {"name": "odd", "inputSchema": {"type": "array"}},
        {"name": "odd", "inputSchema": []},
        "odd",
        {"inputSchema": {"type": "object"}},
    ],
    ids=str,
)
async def test_an_odd_tool_does_not_take_the_others_away(endpoint: Endpoint, mcp: FakeMcpServer, odd: Any) -> None:
    mcp.order("tools/list", Fault(result={"tools": [odd, READ.listing()]}))
    found = await look_at(endpoint)
    assert [tool.name for tool in found.tools] == ["read"]
    assert found.notices == ["1 of its tools make no sense, and were left out."]


async def test_words_that_are_no_characters_cost_only_themselves(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    mcp.order("tools/list", Fault(result={"tools": [{**READ.listing(), "description": "a\ud800b"}]}))
    (tool,) = (await look_at(endpoint)).tools
    assert tool.description == "a\ufffdb"


async def test_an_odd_part_of_a_result_does_not_take_the_others_away(endpoint: Endpoint, mcp: FakeMcpServer) -> None:
    odd = [{"type": "image"}, {"type": "text", "text": 5}, {"type": "resource", "resource": []}, {}, "x", {"type": 7}]
    blob = {"type": "resource", "resource": {"uri": "a:b", "blob": "eHg="}}
    link = {"type": "resource_link", "uri": "https://example.com/a"}
    mcp.order("tools/call", Fault(result={"content": [*odd, {"type": "text", "text": "Found"}, blob, link]}))
    outcome = await once(endpoint, lambda connection: connection.call("read", {}, seconds=5), seconds=10)
    assert not outcome.is_error
    said = [part.get("text") or part["uri"] for part in outcome.parts]
    assert said[-3:] == ["Found", "[resource that Parley can't show]", "https://example.com/a"]


@pytest.mark.parametrize("hint", ["yes", 1, "true", [True]], ids=str)
async def test_a_hint_is_true_or_it_is_none(endpoint: Endpoint, mcp: FakeMcpServer, hint: Any) -> None:
    mcp.order("tools/list", Fault(result={"tools": [{**READ.listing(), "annotations": {"readOnlyHint": hint}}]}))
    (tool,) = (await look_at(endpoint)).tools
    assert not tool.annotations.get("readOnlyHint")


JUNK = {
    "blocks": {"content": [{"type": "t"}] * 300_000},
    "tools": {"tools": [{}] * 1_000_000},
    "lists": {"content": [], "structuredContent": {"a": [[]] * 1_200_000}},
    "numbers": {"content": [], "structuredContent": {"a": [1] * 1_500_000}},
    "levels": {"content": [], "structuredContent": json.loads('{"a":' * 900 + "1" + "}" * 900)},
    "meta": {"content": [], "_meta": {"a": [[]] * 1_200_000}},
}


@pytest.mark.parametrize("junk", JUNK, ids=str)
async def test_what_is_dear_to_read_holds_up_nobody(endpoint: Endpoint, mcp: FakeMcpServer, junk: str) -> None:
    mcp.order("tools/call", Fault(result=JUNK[junk]))
    stops: list[float] = [0]

    async def watch() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            stops.append(time.monotonic() - last)
            last = time.monotonic()

    watching = asyncio.create_task(watch())
    with contextlib.suppress(ToolServerError):
        await once(endpoint, lambda connection: connection.call("read", {}, seconds=20), seconds=30)
    watching.cancel()
    # A tenth of a second, and more on a machine that is busy with other tests; it was 13.
    assert max(stops) < 3
