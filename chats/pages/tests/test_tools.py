"""Servers of tools: the list, the form and its secrets, looks, what each tool may do, and what is not shown."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from chats.pages.servers import TOOLS_SHOWN
from chats.replies.servers import look_now
from chats.tools.models import McpServer, Tool
from chats.tools.services import MASK, add_server, headers_of, set_policy
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool, Fault

HX = {"HX-Request": "true"}
LIST, ADD = "/tools/", "/tools/add/"
URL = "https://mcp.example.org/mcp"
SECRET = "Bearer canary-5521"
PAYLOAD = "<script>alert('said')</script>"


def to(name: str, row: McpServer | Tool) -> str:
    return reverse(f"pages:{name}", args=[row.pk])


def page_of(client: Client, address: str, **options: Any) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return text_of(response)


def text_of(response: HttpResponse) -> str:
    return " ".join(response.content.decode().split())


def filled(*headers: tuple[str, str], **fields: Any) -> dict[str, Any]:
    names, values = [name for name, _ in headers], [value for _, value in headers]
    form = {"name": "Tracker", "url": URL, "enabled": "on", "header_name": names, "header_value": values}
    return form | fields


def make_tool(server: McpServer, name: str = "look_up", **fields: Any) -> Tool:
    """A row as a look would leave it. Written here: most of these tests need no server."""
    return Tool.objects.create(server=server, name=name, called=f"{server.prefix}__{name}"[:64], **fields)


@pytest.fixture
def server(owner: User) -> McpServer:
    """The owner's, with a header."""
    made = add_server(owner, name="Tracker", url=URL, headers={"Authorization": SECRET})
    McpServer.objects.filter(pk=made.pk).update(status="ready", checked_at=timezone.now())
    made.refresh_from_db()
    return made


@pytest.fixture
def shared(db: None) -> McpServer:
    """The operator's, for everyone."""
    return McpServer.objects.create(
        name="House wiki", prefix="wiki", url="http://wiki.internal:8080/mcp", headers='{"X-Key": "canary-house"}'
    )


# ---------------------------------------------------------------- the list
def test_without_servers_it_says_what_they_are_and_how_to_add_one(visitor: Client, db: None) -> None:
    page = page_of(visitor, LIST)
    assert "An MCP server offers tools that a model may call" in page
    assert f'href="{ADD}"' in page
    assert "Built in" in page
    assert "Calculator" not in page


def test_the_menu_and_the_settings_lead_to_it(visitor: Client, db: None) -> None:
    assert f'href="{LIST}"' in page_of(visitor, "/")
    assert f'href="{LIST}"' in page_of(visitor, "/settings/")


def test_it_says_of_each_server_where_it_is_and_how(visitor: Client, owner: User, server: McpServer) -> None:
    make_tool(server)
    make_tool(server, "changed", changed={"title": "x"})
    make_tool(server, "gone", is_listed=False)
    others = {
        "failed": '<span dir="auto">It &lt;b&gt;hangs&lt;/b&gt;.',
        "sign_in": "It &lt;b&gt;hangs&lt;/b&gt;.",
        "untried": "Nobody has looked yet",
    }
    for status in others:
        McpServer.objects.create(
            user=owner, name=status, prefix=status, url=URL, status=status, error_message="It <b>hangs</b>."
        )
    McpServer.objects.create(user=owner, name="Off", prefix="off", url="http://[broken", status="ready", enabled=False)
    page = page_of(visitor, LIST)
    for words in (
        "mcp.example.org",
        "2 tools",
        "looked at",
        "Ready",
        "A tool has changed",
        "5 of 20",
        *others.values(),
    ):
        assert words in page
    assert "A tool has changed" in page
    assert "Off: no answer uses its tools." in page
    assert page.count('role="switch" aria-checked="true"') == 4
    assert page.count('role="switch" aria-checked="false"') == 1


def test_the_operators_servers_are_marked_and_their_address_is_not_told(
    visitor: Client, owner: User, shared: McpServer
) -> None:
    tool = make_tool(shared, title="Search the wiki")
    McpServer.objects.filter(pk=shared.pk).update(
        status="failed", error_message="wiki.internal can't be reached.", checked_at=timezone.now()
    )
    for page in (page_of(visitor, LIST), page_of(visitor, to("server", shared)), page_of(visitor, to("tool", tool))):
        assert "House wiki" in page
        for secret in ("internal", "8080", "X-Key", "canary"):
            assert secret not in page
    assert "Shared with you" in page_of(visitor, LIST)
    page = page_of(visitor, to("server", shared))
    assert "The people who run this site have to look at it." in page
    assert not {word for word in ("Test connection", "/edit/", "/delete/", 'role="switch"') if word in page}


def test_a_server_for_a_group_is_seen_by_its_members_only(
    visitor: Client, owner: User, shared: McpServer, stranger: User, client_of: Callable[[User], Client]
) -> None:
    group = Group.objects.create(name="Wiki readers")
    shared.groups.add(group)
    owner.groups.add(group)
    assert "House wiki" in page_of(visitor, LIST)
    assert "House wiki" not in page_of(client_of(stranger), LIST)
    assert client_of(stranger).get(to("server", shared)).status_code == 404


def test_built_in_tools_are_there_and_can_be_denied(visitor: Client, owner: User) -> None:
    builtin = McpServer.objects.get(transport="builtin")
    assert to("server", builtin) in page_of(visitor, LIST)
    page = page_of(visitor, to("server", builtin))
    assert "Calculator" in page
    assert "Test connection" not in page
    tool = builtin.tools.get(name="calculator")
    visitor.post(to("tool_policy", tool), {"policy": "deny"})
    assert Tool.objects.with_choice_of(owner).get(pk=tool.pk).policy_chosen == "deny"


def test_pages_take_the_same_queries_for_any_number_of_rows(
    visitor: Client, owner: User, server: McpServer, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def add_more(number: int) -> None:
        made = McpServer.objects.create(user=owner, name=f"N{number}", prefix=f"n{number}", url=URL)
        for where in (made, server):
            make_tool(where, f"t{number}", description="x" * 500, changed={"title": "x"} if number % 2 else None)

    add_more(0)
    with django_assert_num_queries(3):
        visitor.get(LIST)
    with django_assert_num_queries(4):
        visitor.get(to("server", server))
    for number in range(1, 8):
        add_more(number)
    with django_assert_num_queries(3):
        visitor.get(LIST)
    with django_assert_num_queries(4):
        visitor.get(to("server", server))


def test_a_server_is_switched_off_and_on(visitor: Client, server: McpServer) -> None:
    row = visitor.post(to("switch_server", server), {"enabled": "off"}, headers=HX)
    assert 'aria-checked="false"' in text_of(row)
    server.refresh_from_db()
    assert not server.enabled
    assert headers_of(server) == {"Authorization": SECRET}
    response = visitor.post(to("switch_server", server), {"enabled": "on", "from_list": ""})
    assert (response.status_code, response.url) == (302, LIST)
    assert visitor.post(to("switch_server", server), {"enabled": "on"}).url == to("server", server)
    whole = visitor.post(to("switch_server", server), {"enabled": "off"}, headers=HX | {"HX-Target": "server"})
    assert '<article class="card" id="server">' in text_of(whole)


# ---------------------------------------------------------------- the form
def test_headers_are_never_shown_again(visitor: Client, server: McpServer) -> None:
    tool = make_tool(server)
    refused = visitor.post(to("edit_server", server), filled(("X-New", "canary-typed"), name=""))
    assert refused.status_code == 400
    for page in (
        page_of(visitor, LIST),
        page_of(visitor, to("server", server)),
        page_of(visitor, to("edit_server", server)),
        page_of(visitor, to("tool", tool)),
        text_of(refused),
    ):
        assert "canary" not in page
        assert MASK not in page
    page = page_of(visitor, to("edit_server", server))
    assert 'value="Authorization"' in page
    assert "Set; leave blank to keep it" in page


def test_blank_keeps_a_value_another_replaces_it_and_remove_forgets_it(visitor: Client, server: McpServer) -> None:
    def save(*headers: tuple[str, str], **more: Any) -> dict[str, str]:
        assert visitor.post(to("edit_server", server), filled(*headers, **more)).status_code in {302, 303}
        server.refresh_from_db()
        return headers_of(server)

    assert save(("Authorization", ""), ("", ""), name="Renamed") == {"Authorization": SECRET}
    assert server.name == "Renamed"
    assert save(("Authorization", "other"), ("X-Key", " two ")) == {"Authorization": "other", "X-Key": "two"}
    assert save(("Authorization", ""), ("X-Key", ""), header_removed=["0"]) == {"X-Key": "two"}
    assert save(("", "")) == {}


def test_another_host_asks_for_the_headers_anew_at_their_field(visitor: Client, server: McpServer) -> None:
    elsewhere = "https://elsewhere.example.org/mcp"
    refused = visitor.post(to("edit_server", server), filled(("Authorization", ""), url=elsewhere))
    page = text_of(refused)
    assert refused.status_code == 400
    assert '<p class="error" id="headers-error">The address is another server&#x27;s: enter its headers anew' in page
    assert f'value="{elsewhere}"' in page
    assert 'placeholder="Enter it again"' in page
    server.refresh_from_db()
    assert server.url == URL
    tool = make_tool(server)
    assert visitor.post(to("edit_server", server), filled(("Authorization", "new"), url=elsewhere)).status_code == 303
    server.refresh_from_db()
    assert (server.url, headers_of(server), server.status) == (elsewhere, {"Authorization": "new"}, "untried")
    assert not Tool.objects.filter(pk=tool.pk).exists()


def test_a_value_that_was_typed_and_refused_must_be_typed_again(visitor: Client, server: McpServer) -> None:
    page = text_of(visitor.post(to("edit_server", server), filled(("Authorization", "canary-new"), url="")))
    assert 'placeholder="Enter it again"' in page
    assert '<input type="hidden" name="header_lost" value="0">' in page
    # The old value must not stay because the new one was lost.
    again = visitor.post(to("edit_server", server), filled(("Authorization", ""), header_lost=["0"]))
    assert "Enter a value for Authorization, or leave it out." in text_of(again)
    assert 'placeholder="Enter it again"' in text_of(again)
    sent = filled(("Authorization", "typed"), header_lost=["0"])
    assert visitor.post(to("edit_server", server), sent).status_code == 303
    server.refresh_from_db()
    assert headers_of(server) == {"Authorization": "typed"}


@pytest.mark.parametrize(
    ("sent", "field", "words"),
    [
        (filled(name=" "), "name", "Give it a name."),
        (filled(name="x" * 101), "name", "At most 100 characters"),
        (filled(url="ftp://example.org"), "url", "must begin with http"),
        (filled(url="https://me:pw@example.org/"), "url", "user name or password"),
        (filled(url="http://127.0.0.1/mcp"), "url", "does not connect to"),
        (filled(("X-Key", "")), "headers", "Enter a value for X-Key"),
        (filled(("X-Key", "1"), ("x-key", "2")), "headers", "is there twice"),
        (filled(("a b", "1")), "headers", "is no name of a header"),
        (filled(("Host", "1")), "headers", "Parley sets Host itself"),
        (filled(("X-Key", "ü")), "headers", "characters that no header has"),
        (filled(*[(f"X-{n}", "1") for n in range(21)]), "headers", "At most 20 headers"),
        (filled(("X-Key", MASK)), "headers", "characters that no header has"),
    ],
)
def test_mistakes_are_said_at_their_field_and_nothing_else_is_lost(
    visitor: Client, db: None, sent: dict[str, Any], field: str, words: str
) -> None:
    response = visitor.post(ADD, sent)
    page = text_of(response)
    assert response.status_code == 400
    found = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', page)
    assert found
    assert words in found.group(1)
    assert 'id="enabled" type="checkbox" name="enabled" checked' in page
    for name in sent["header_name"][:20]:
        assert f'name="header_name" value="{name}"' in page
    assert not McpServer.objects.filter(user__isnull=False).exists()


@pytest.mark.parametrize("url", ["", "http://[x", "http://a:99999/", "nonsense"])
def test_an_address_that_is_none_is_said_at_its_field_and_not_at_the_headers(
    visitor: Client, server: McpServer, url: str
) -> None:
    response = visitor.post(to("edit_server", server), filled(("Authorization", ""), url=url))
    assert response.status_code == 400
    assert 'id="url-error"' in text_of(response)
    assert 'id="headers-error"' not in text_of(response)


def test_what_is_typed_comes_back_as_text(visitor: Client, db: None) -> None:
    page = text_of(visitor.post(ADD, filled((PAYLOAD, "1"), name=f"{PAYLOAD}{'x' * 100}", url=f'"{PAYLOAD}')))
    assert PAYLOAD not in page
    assert "&lt;script&gt;" in page


def test_no_more_than_the_limits(visitor: Client, owner: User, server: McpServer, settings: Settings) -> None:
    settings.MCP_SERVERS_PER_USER = 1
    full = visitor.post(ADD, filled(("X-Key", "canary")))
    assert full.status_code == 409
    assert "as many as one may have" in text_of(full)
    assert 'value="Tracker"' in text_of(full)
    assert "canary" not in text_of(full)
    page = page_of(visitor, LIST)
    assert "You have as many servers as one may have" in page
    assert f'href="{ADD}"' not in page
    settings.MCP_CHANGES_PER_HOUR = 1
    assert visitor.post(ADD, filled()).status_code == 429
    assert visitor.post(to("look_at_server", server)).status_code == 429
    # To have it do nothing is never too much.
    assert visitor.post(to("switch_server", server), {"enabled": "off"}, headers=HX).status_code == 200
    refused = visitor.post(to("switch_server", server), {"enabled": "on"}, headers=HX)
    assert (refused.status_code, refused.headers["Content-Type"]) == (429, "text/plain; charset=utf-8")
    assert "until then you can switch them off" in text_of(refused)


def test_who_waits_for_too_much_has_no_look(visitor: Client, server: McpServer, settings: Settings) -> None:
    settings.SOCKETS_PER_USER = 0
    assert visitor.post(to("look_at_server", server)).status_code == 429
    assert "too many connections" in text_of(visitor.post(ADD, filled()))
    assert McpServer.objects.filter(user__isnull=False).count() == 1


# ---------------------------------------------------------------- looks
def end_of(response: HttpResponse) -> str:
    """Where a look leads to, once it is over."""

    async def read() -> bytes:
        return b"".join([part async for part in response])

    assert response.status_code == 303
    assert async_to_sync(read)() == b""
    return response.headers["Location"]


@pytest.fixture
def near(settings: Settings) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.MCP_CONNECT_SECONDS = 20


def test_adding_looks_at_it_and_leads_to_what_it_offers(
    transactional_db: None, near: None, visitor: Client, owner: User, mcp: FakeMcpServer
) -> None:
    mcp.require_header("X-Key", "canary-1")
    mcp.tools = [FakeTool("find", "Finds things", annotations={"readOnlyHint": True}), FakeTool("drop_all")]
    address = end_of(visitor.post(ADD, filled(("X-Key", "canary-1"), url=mcp.url)))
    server = McpServer.objects.get(user=owner)
    assert address == to("server", server)
    page = page_of(visitor, address)
    for words in ("Ready", "2 tools", "find", "drop_all", "Only reads.", "May change something.", "It calls itself «"):
        assert words in page
    assert re.findall(r'name="policy" value="(\w+)" aria-pressed="true"', page) == ["ask", "allow"]  # drop_all, find


def test_one_that_does_not_answer_is_added_all_the_same_and_says_why(
    transactional_db: None, near: None, visitor: Client, owner: User, mcp: FakeMcpServer
) -> None:
    mcp.require_header("X-Key", "canary-1")
    address = end_of(visitor.post(ADD, filled(("X-Key", "wrong"), url=mcp.url)))
    page = page_of(visitor, address)
    assert "It lets nobody in without a credential." in page
    assert "Sign in to it" in page
    mcp.reset()
    mcp.order("connect", Fault(drop=True))
    server = McpServer.objects.get(user=owner)
    end_of(visitor.post(to("look_at_server", server)))
    page = page_of(visitor, address)
    assert "closed the connection before it was done" in page
    assert "its address" in page


def test_a_look_that_nobody_waits_for_does_not_begin(
    transactional_db: None, near: None, visitor: Client, owner: User, mcp: FakeMcpServer
) -> None:
    server = add_server(owner, name="Fake", url=mcp.url, headers={})
    visitor.post(to("look_at_server", server)).close()
    assert not mcp.requests


def test_notices_say_what_was_left_out(
    transactional_db: None, near: None, visitor: Client, owner: User, *, mcp: FakeMcpServer, settings: Settings
) -> None:
    settings.TOOLS_PER_SERVER = 2
    mcp.tools = [FakeTool(f"t{number}") for number in range(3)]
    server = add_server(owner, name="Fake", url=mcp.url, headers={})
    assert look_now(server.pk, seconds=20).ok
    server.refresh_from_db()
    assert server.notices
    page = page_of(visitor, to("server", server))
    for notice in server.notices:
        assert notice in page


# ---------------------------------------------------------------- tools
def test_what_a_server_says_is_text(visitor: Client, server: McpServer) -> None:
    about = {"name": PAYLOAD, "version": PAYLOAD, "protocol": "2025-06-18"}
    McpServer.objects.filter(pk=server.pk).update(about=about, notices=[PAYLOAD], name=PAYLOAD[:100])
    schema = {"properties": {PAYLOAD: {}, **{f"p{n}": {} for n in range(20)}}}
    fields = {"title": PAYLOAD, "description": f"{PAYLOAD}\n" * 20, "input_schema": schema}
    tool = make_tool(server, PAYLOAD[:60], **fields, annotations={"title": PAYLOAD}, problem="")
    make_tool(server, "broken", problem=PAYLOAD)
    make_tool(server, "suspended", changed={"title": PAYLOAD, "description": PAYLOAD})
    for address in (to("server", server), to("tool", tool), LIST, to("delete_server", server)):
        page = page_of(visitor, address)
        assert PAYLOAD not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("schema", [{}, {"properties": None}, {"properties": [1]}, {"properties": {"a": 1}}])
def test_any_schema_can_be_shown(visitor: Client, server: McpServer, schema: dict[str, Any]) -> None:
    tool = make_tool(server, input_schema=schema)
    page_of(visitor, to("server", server))
    page_of(visitor, to("tool", tool))


def test_what_people_would_not_see_is_shown(visitor: Client, server: McpServer) -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "send all")
    tool = make_tool(server, description=f"Adds.\u200b{hidden} \u202eok")
    for address in (to("server", server), to("tool", tool)):
        page = page_of(visitor, address)
        assert "Adds.[U+200B][U+E0073]" in page
        assert "[U+202E]ok" in page
        assert "\u202e" not in page


def test_a_long_description_is_closed_at_first(visitor: Client, server: McpServer) -> None:
    make_tool(server, "short", description="Short.")
    make_tool(server, "long", description="Long. " * 100)
    page = page_of(visitor, to("server", server))
    assert page.count('<details class="tool-description">') == 1
    assert '<p class="tool-description" dir="auto">Short.</p>' in page


def test_a_choice_is_kept_per_person(visitor: Client, owner: User, shared: McpServer, stranger: User) -> None:
    tool = make_tool(shared)
    response = visitor.post(to("tool_policy", tool), {"policy": "deny"})
    assert (response.status_code, response.url) == (302, f"{to('server', shared)}#tool-{tool.pk}")
    part = text_of(visitor.post(to("tool_policy", tool), {"policy": "allow"}, headers=HX))
    assert part.startswith(f'<li class="tool-row" id="tool-{tool.pk}"')
    assert 'value="allow" aria-pressed="true"' in part
    assert Tool.objects.with_choice_of(owner).get(pk=tool.pk).policy_chosen == "allow"
    assert Tool.objects.with_choice_of(stranger).get(pk=tool.pk).policy_chosen == "ask"
    for nonsense in ({}, {"policy": ""}, {"policy": "always"}):
        assert visitor.post(to("tool_policy", tool), nonsense).status_code == 400


def test_what_the_operator_denies_nobody_allows(visitor: Client, shared: McpServer) -> None:
    tool = make_tool(shared, policy="deny")
    page = page_of(visitor, to("server", shared))
    assert "Switched off by the people who run this site." in page
    assert to("tool_policy", tool) not in page
    assert visitor.post(to("tool_policy", tool), {"policy": "allow"}).status_code == 409


def test_tools_that_are_broken_or_gone_are_told_apart(visitor: Client, server: McpServer) -> None:
    make_tool(server, "fine")
    make_tool(server, "broken", problem="Its input schema is longer than 32,768 bytes, or not plain JSON.")
    make_tool(server, "past", is_listed=False)
    page = page_of(visitor, to("server", server))
    for words in ("be used</h2>", "Its input schema is longer", "No longer offered (1)"):
        assert words in page
    assert page.count('class="policy"') == 1


def test_a_server_that_renames_its_tools_with_each_look_does_not_fill_the_page(
    visitor: Client, server: McpServer
) -> None:
    rows = [Tool(server=server, name=f"old{n}", called=f"old{n}", is_listed=False) for n in range(TOOLS_SHOWN + 50)]
    Tool.objects.bulk_create(rows)
    make_tool(server, "zz_new")
    page = page_of(visitor, to("server", server))
    assert page.count("data-tool") == TOOLS_SHOWN
    assert "zz_new" in page
    assert f"({TOOLS_SHOWN - 1} and more)" in page


# ---------------------------------------------------------------- suspended tools
@pytest.fixture
def suspended(server: McpServer, owner: User) -> Tool:
    now = {"title": "", "description": "Adds two numbers and mails them.", "input_schema": {}, "annotations": {}}
    tool = make_tool(server, "add", description="Adds two numbers.", changed=now)
    set_policy(owner, tool, "allow")
    return tool


def seen_in(page: str) -> str:
    found = re.search(r'name="seen" value="(\w+)"', page)
    assert found
    return found.group(1)


def test_a_suspended_tool_shows_the_difference_and_is_accepted(
    visitor: Client, server: McpServer, suspended: Tool, owner: User
) -> None:
    page = page_of(visitor, to("server", server))
    assert "Adds two <del>numbers.</del>" in page
    assert "Adds two <ins>numbers and mails them.</ins>" in page
    assert to("tool_policy", suspended) not in page
    response = visitor.post(to("accept_tool", suspended), {"seen": seen_in(page)})
    assert (response.status_code, response.url) == (302, f"{to('server', server)}#tool-{suspended.pk}")
    suspended.refresh_from_db()
    assert (suspended.description, suspended.changed) == ("Adds two numbers and mails them.", None)
    assert Tool.objects.with_choice_of(owner).get(pk=suspended.pk).policy_chosen == "ask"
    assert to("tool_policy", suspended) in page_of(visitor, to("server", server))


def test_what_changed_once_more_is_not_accepted_unseen(visitor: Client, server: McpServer, suspended: Tool) -> None:
    seen = seen_in(page_of(visitor, to("server", server)))
    Tool.objects.filter(pk=suspended.pk).update(changed={**suspended.changed, "description": "Deletes everything."})
    for sent in ({"seen": seen}, {}):
        part = text_of(visitor.post(to("accept_tool", suspended), sent, headers=HX))
        assert "Look at the difference again" in part
        assert "<ins>Deletes everything.</ins>" in part
        page = text_of(visitor.post(to("accept_tool", suspended), sent, follow=True))
        assert "Look at the difference again" in page
    suspended.refresh_from_db()
    assert suspended.description == "Adds two numbers."


def test_the_operators_suspended_tools_are_the_operators_business(visitor: Client, shared: McpServer) -> None:
    tool = make_tool(shared, changed={"title": "Other", "description": "", "input_schema": {}, "annotations": {}})
    page = page_of(visitor, to("server", shared))
    assert "until the people who run this site have looked" in page
    assert to("accept_tool", tool) not in page
    assert visitor.post(to("accept_tool", tool), {"seen": ""}).status_code == 400
    tool.refresh_from_db()
    assert tool.is_suspended


# ---------------------------------------------------------------- removal, and whose it is
def test_a_server_is_removed_after_a_question(visitor: Client, server: McpServer) -> None:
    assert "Remove this server?" in page_of(visitor, to("delete_server", server))
    assert McpServer.objects.filter(pk=server.pk).exists()
    page = text_of(visitor.post(to("delete_server", server), follow=True))
    assert "«Tracker» is removed." in page
    assert not McpServer.objects.filter(pk=server.pk).exists()


def test_what_is_not_theirs_is_not_there(
    server: McpServer, suspended: Tool, shared: McpServer, stranger: User, client_of: Callable[[User], Client]
) -> None:
    other = client_of(stranger)
    for name in ("server", "edit_server", "delete_server"):
        assert other.get(to(name, server)).status_code == 404
    for name in ("edit_server", "delete_server", "look_at_server", "switch_server"):
        assert other.post(to(name, server), filled()).status_code == 404
        assert other.post(to(name, shared), filled()).status_code == 404
    assert other.get(to("tool", suspended)).status_code == 404
    for name in ("tool_policy", "accept_tool"):
        assert other.post(to(name, suspended), {"policy": "allow", "seen": ""}).status_code == 404
    server.refresh_from_db()
    assert (server.name, server.enabled) == ("Tracker", True)


def test_nobody_comes_in_without_signing_in(client: Client, server: McpServer, suspended: Tool) -> None:
    for address in (LIST, ADD, to("server", server), to("tool", suspended)):
        assert client.get(address).url == f"/accounts/login/?next={address}"
    assert client.post(to("look_at_server", server), headers=HX).status_code == 401


def test_what_changes_something_is_only_posted(visitor: Client, server: McpServer, suspended: Tool) -> None:
    for name, row in (("look_at_server", server), ("switch_server", server), ("tool_policy", suspended)):
        assert visitor.get(to(name, row)).status_code == 405
    visitor.handler.enforce_csrf_checks = True
    for name, row in (("look_at_server", server), ("delete_server", server), ("accept_tool", suspended)):
        assert visitor.post(to(name, row)).status_code == 403
