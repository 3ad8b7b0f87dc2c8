"""What was found at a server becomes rows: as it was found, where it was found, and as both databases give it back."""

import asyncio
from typing import Any

import pytest

from accounts.models import User
from chats.errors import NotFound
from chats.tools.calling import note_failure, take_note
from chats.tools.discovery import accept_change, is_believed_read_only
from chats.tools.errors import ServerUnreachable
from chats.tools.models import McpServer, Tool
from chats.tools.services import add_server, delete_server, endpoint_of, set_policy, update_server
from chats.tools.values import Found, FoundTool
from config.tests.threads import in_thread


def found(*tools: FoundTool) -> Found:
    return Found(tools, {"name": "fake", "version": "1", "protocol": "2025-06-18"})


def tool(name: str = "read", description: str = "Reads", **schema: Any) -> FoundTool:
    properties = {"n": {"type": "number", **schema}}
    return FoundTool(name, "", description, {"type": "object", "properties": properties}, {"readOnlyHint": True})


@pytest.fixture
def server(owner: User) -> McpServer:
    return add_server(owner, name="Fake", url="https://example.com/mcp", headers={"X-Key": "secret"})


@pytest.fixture
def shared(db: None) -> McpServer:
    return McpServer.objects.create(name="Shared", prefix="shared", url="http://10.0.0.1/mcp", status="ready")


def take(server: McpServer, *tools: FoundTool, endpoint: Any = None) -> None:
    take_note(server.pk, endpoint or endpoint_of(server), server.user_id, found(*tools), is_signed=False)


@pytest.mark.parametrize(
    "name",
    [
        "destroy_database",
        "replaceFile",
        "rm",
        "charge_card",
        "deletefile",
        "DELETEuser",
        "updated",
        "unsubscribe",
        "mark_read",
    ],
)
def test_a_name_of_a_change_is_believed_more_than_a_hint(name: str) -> None:
    assert not is_believed_read_only(name, {"readOnlyHint": True})


@pytest.mark.parametrize(
    "name", ["read", "list_settings", "get_address", "search_orders2", "HTTPGet", "describeRuntime"]
)
def test_a_hint_is_believed_where_nothing_speaks_against_it(name: str) -> None:
    assert is_believed_read_only(name, {"readOnlyHint": True})


@pytest.mark.parametrize("number", [1e16, 9.2e18, -0.0, 1e-7, 0.1, 5.0, 2**53 + 1])
def test_a_tool_is_the_same_when_it_is_read_again(server: McpServer, number: float) -> None:
    take(server, tool(maximum=5))
    take(server, tool(maximum=number))
    accept_change(server.tools.get())
    take(server, tool(maximum=number))
    assert server.tools.get().changed is None


def test_what_was_decided_about_the_earlier_tool_is_over_but_for_a_no(shared: McpServer, owner: User) -> None:
    take(shared, tool("a"), tool("b"))
    shared.tools.filter(name="a").update(policy="allow")
    shared.tools.filter(name="b").update(policy="deny")
    set_policy(owner, shared.tools.get(name="a"), "allow")
    take(shared, tool("a", "Deletes everything"), tool("b", "Deletes everything"))
    for row in shared.tools.all():
        accept_change(row)
    assert dict(shared.tools.values_list("name", "policy")) == {"a": "", "b": "deny"}
    assert not shared.tools.get(name="a").choices.exists()


def test_what_is_found_at_an_address_is_not_written_onto_the_next(server: McpServer) -> None:
    before = endpoint_of(server)
    update_server(server, url="https://example.org/mcp", headers={})
    with pytest.raises(NotFound):
        take(server, tool(), endpoint=before)
    note_failure(server.pk, before, server.user_id, ServerUnreachable("It is away."))
    server.refresh_from_db()
    assert (server.status, server.tools.count()) == ("untried", 0)


def test_ones_own_trouble_is_not_that_of_a_shared_server(shared: McpServer, owner: User) -> None:
    error = ServerUnreachable("Your sign-in could not be renewed.", is_personal=True)
    note_failure(shared.pk, endpoint_of(shared), owner.pk, error)
    shared.refresh_from_db()
    assert shared.status == "ready"


@pytest.mark.django_db(transaction=True)
async def test_a_server_that_is_changed_and_looked_at_at_once_comes_to_one_state(owner: User) -> None:
    server = await in_thread(add_server, owner, name="Fake", url="https://example.com/mcp", headers={})
    await in_thread(take, server, tool())
    here = endpoint_of(server)

    def look() -> None:
        for number in range(5):
            try:
                take(McpServer(pk=server.pk, user=owner), tool(description=f"Reads {number}"), endpoint=here)
            except NotFound:
                return

    moved = await in_thread(McpServer.objects.get, pk=server.pk)
    move = in_thread(update_server, moved, url="https://example.org/mcp")
    await asyncio.gather(in_thread(look), in_thread(look), move)
    await in_thread(server.refresh_from_db)
    assert server.url == "https://example.org/mcp"
    await in_thread(delete_server, server)
    assert not await in_thread(Tool.objects.filter(server=server.pk).exists)


def test_whoever_decides_about_what_is_gone_hears_so(server: McpServer, owner: User) -> None:
    take(server, tool())
    row = server.tools.get()
    delete_server(server)
    for verb in (lambda: accept_change(row), lambda: set_policy(owner, row, "deny"), lambda: delete_server(server)):
        with pytest.raises(NotFound):
            verb()


def test_a_server_that_renames_its_tools_at_each_look_fills_no_table(
    server: McpServer, owner: User, settings: Any
) -> None:
    settings.TOOLS_PER_SERVER = 3
    take(server, tool("first"), tool("denied"), tool("asked"))
    set_policy(owner, server.tools.get(name="denied"), "deny")
    set_policy(owner, server.tools.get(name="asked"), "ask")
    for number in range(5):
        take(server, tool(f"a{number}"), tool(f"b{number}"))
    kept = list(server.tools.order_by("name").values_list("name", "is_listed"))
    gone = [(name, False) for name in ("asked", "denied")]
    assert kept == [("a3", False), ("a4", True), gone[0], ("b2", False), ("b3", False), ("b4", True), gone[1]]
