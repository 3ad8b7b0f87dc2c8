"""Whose tools answers may use, as one chooses it where one writes."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat
from chats.services import create_chat
from chats.tools.models import McpServer, Tool
from chats.tools.services import set_policy


@pytest.fixture
def make_server(owner: User) -> Callable[..., McpServer]:
    """`make_server(name, **fields)`: a server with two tools, the owner's unless it is said otherwise."""

    def make(name: str, **fields: object) -> McpServer:
        given = {"user": owner, "prefix": name.lower(), "url": "https://example.org/mcp", **fields}
        server = McpServer.objects.create(name=name, **given)
        for tool in ("one", "two"):
            Tool.objects.create(server=server, name=tool, called=f"{name}__{tool}", pinned_hash="x")
        return server

    return make


def shown(visitor: Client, chat: Chat | None = None) -> list[tuple[str, bool]]:
    """The servers in the menu, and whether they are ticked."""
    page = visitor.get(reverse("pages:chat", args=[chat.pk]) if chat else "/").content.decode()
    names = dict(McpServer.objects.values_list("pk", "name"))
    boxes = re.findall(r'type="checkbox" name="tools" value="([^"]+)"( checked)?', page)
    return [(name, bool(checked)) for pk, checked in boxes for key, name in names.items() if str(key) == pk]


def send(visitor: Client, chat: Chat | None, chosen: list[McpServer], offered: list[McpServer]) -> Chat:
    address = reverse("pages:send", args=[chat.pk]) if chat else reverse("pages:send_new")
    ids = {"tools": [str(s.pk) for s in chosen], "tools_offered": [str(s.pk) for s in offered]}
    visitor.post(address, {"content": "Hi", **ids})
    found = chat or Chat.objects.get()
    found.refresh_from_db()
    found.replies.update(status="stopped")
    return found


def test_all_servers_with_tools_are_offered_and_on(
    visitor: Client, stranger: User, make_server: Callable[..., McpServer]
) -> None:
    make_server("Mine")
    make_server("Shared", user=None)
    make_server("Off", enabled=False)
    make_server("Theirs", user=stranger)
    Tool.objects.filter(server=make_server("Changed")).update(changed={"description": "Another"})
    assert shown(visitor) == [("Parley", True), ("Mine", True), ("Shared", True)]
    page = visitor.get("/").content.decode()
    assert "data-tools-name>All tools<" in page
    assert "2 tools" in page
    assert 'href="/tools/"' in page
    assert "calls no tools" in page


def test_a_server_whose_tools_are_all_denied_is_not_offered(
    visitor: Client, owner: User, make_server: Callable[..., McpServer]
) -> None:
    denied = make_server("Denied")
    for tool in denied.tools.all():
        set_policy(owner, tool, "deny")
    assert shown(visitor) == [("Parley", True)]


def test_what_is_chosen_holds_for_the_chat(
    visitor: Client, demo_model: AIModel, make_server: Callable[..., McpServer]
) -> None:
    one, two = make_server("One"), make_server("Two")
    chat = send(visitor, None, [one], [one, two])
    assert chat.tools == {"servers": [str(one.pk)]}
    assert shown(visitor, chat) == [("Parley", False), ("One", True), ("Two", False)]
    assert send(visitor, chat, [], [one, two]).tools == {"servers": []}
    page = visitor.get(reverse("pages:chat", args=[chat.pk])).content.decode()
    assert "data-tools-name>No tools<" in page
    # All means those that come later too.
    assert send(visitor, chat, [one, two], [one, two]).tools is None
    # A page without the menu changes nothing.
    assert send(visitor, send(visitor, chat, [two], [one, two]), [], []).tools == {"servers": [str(two.pk)]}


def test_a_strangers_server_is_refused(
    visitor: Client, owner: User, stranger: User, demo_model: AIModel, make_server: Callable[..., McpServer]
) -> None:
    mine, theirs = make_server("Mine"), make_server("Theirs", user=stranger)
    chat = create_chat(owner, title="Tides")
    assert send(visitor, chat, [theirs], [mine, theirs]).tools is None
    assert not chat.messages.exists()
