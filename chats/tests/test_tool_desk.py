"""Staff set up servers of tools in the admin, look what they offer, and decide about their tools."""

import ast
import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from chats.tools.models import McpServer, Tool
from chats.tools.services import add_server, endpoint_of, headers_of, save_shared_server, set_policy
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool, Fault
from config.tests.live import LiveServer

LIST, ADD = reverse("admin:tools_mcpserver_changelist"), reverse("admin:tools_mcpserver_add")
TOOLS = reverse("admin:tools_tool_changelist")
PAYLOAD = "<script>alert('said')</script>"


@pytest.fixture
def desk(superuser: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(superuser)


@pytest.fixture
def clerk(staff: User, client_of: Callable[[User], Client]) -> Client:
    """Staff who may do everything with servers and tools, and are no superuser."""
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="tools"))
    return client_of(staff)


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    settings.MCP_TEST_SECONDS = 20


@pytest.fixture
def house(db: None) -> McpServer:
    """The operator's, for everyone, with a header."""
    return McpServer.objects.create(
        name="House",
        prefix="house",
        url="http://mcp.internal:8080/mcp",
        headers='{"X-Key": "canary-1"}',
        status="ready",
    )


@pytest.fixture
def owned(owner: User) -> McpServer:
    """A person's own, with what is private in its address and its headers."""
    url = "https://mcp.example.org/private-path/mcp"
    return add_server(owner, name="Of Olive", url=url, headers={"X-Olive": "canary-2"})


def to(name: str, row: McpServer | Tool) -> str:
    return reverse(f"admin:tools_{row._meta.model_name}_{name}", args=[row.pk])


def filled(**fields: Any) -> dict[str, Any]:
    base = {"name": "House", "transport": "http", "url": "http://mcp.internal:8080/mcp", "enabled": "on"}
    return base | {"headers": "", "command": "", "arguments": "[]", "environment": "", "call_seconds": ""} | fields


def text(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def looked(desk: Client, response: Any) -> str:
    """The page to which a look leads, once it is over."""
    assert response.status_code == 303

    async def wait() -> None:
        async for _ in response.streaming_content:
            pass

    asyncio.run(wait())
    return text(desk.get(response.headers["Location"], follow=True))


def make_tool(server: McpServer, name: str = "look_up", **fields: Any) -> Tool:
    return Tool.objects.create(server=server, name=name, called=f"{server.prefix}__{name}"[:64], **fields)


def changed(**fields: Any) -> dict[str, Any]:
    return {"title": "", "description": "", "input_schema": {}, "annotations": {}} | fields


# ---------------------------------------------------------------- setting up
def test_a_server_is_added_looked_at_and_for_a_group_only(
    transactional_db: None, desk: Client, mcp: FakeMcpServer
) -> None:
    mcp.tools = [FakeTool("find"), FakeTool("send")]
    mcp.require_header("X-Key", "canary-1")
    group = Group.objects.create(name="Readers")
    sent = filled(
        url=f" {mcp.url} ", headers="X-Key: canary-1\r\n\r\nX-Team: a: b", groups=[group.pk], call_seconds="30"
    )
    page = looked(desk, desk.post(ADD, sent))
    assert "House: It answers, and offers 2 tools." in page
    assert "canary" not in page
    server = McpServer.objects.get(name="House")
    assert (server.user, server.prefix, server.url, server.call_seconds) == (None, "house", mcp.url, 30)
    assert headers_of(server) == {"X-Key": "canary-1", "X-Team": "a: b"}
    assert list(server.groups.all()) == [group]
    assert server.tools.count() == 2
    log = LogEntry.objects.get(object_id=str(server.pk))
    assert log.is_addition()
    assert "canary" not in log.change_message


def test_a_program_is_set_up_and_started_with_what_was_given_and_nothing_else(
    transactional_db: None, desk: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MCP_TEST_SECONDS = 1.5
    note = tmp_path / "started"
    script = f"import os,sys; open({str(note)!r},'w').write(repr((sys.argv[1:], dict(os.environ)))); sys.stdin.read()"
    sent = filled(
        transport="stdio",
        url="",
        command=f" {sys.executable} ",
        arguments=json.dumps(["-c", script, "$HOME *"]),
        environment="API_KEY=canary=1",
    )
    page = looked(desk, desk.post(ADD, sent))
    assert "did not answer within 1.5 seconds" in page
    assert "canary" not in page
    server = McpServer.objects.get(name="House")
    assert endpoint_of(server).environment == {"API_KEY": "canary=1"}
    arguments_seen, environment = ast.literal_eval(note.read_text())
    assert arguments_seen == ["$HOME *"]
    assert environment["API_KEY"] == "canary=1"
    assert not {"SECRET_KEY", "DATABASE_URL", "DJANGO_SETTINGS_MODULE"} & environment.keys()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": ""}, "A server over HTTP needs its address."),
        ({"url": "ftp://a.example"}, "must begin with http"),
        ({"url": "http://me:pw@a.example/"}, "user name or password"),
        ({"command": "npx"}, "A server over HTTP has no command."),
        ({"transport": "stdio"}, "A program has no address."),
        ({"transport": "stdio", "url": ""}, "Enter the program to start"),
        ({"transport": "stdio", "url": "", "command": " "}, "Enter the program to start"),
        ({"transport": "stdio", "url": "", "command": "npx", "arguments": '"--root"'}, "Enter a JSON list of texts"),
        ({"transport": "stdio", "url": "", "command": "npx", "arguments": "[1]"}, "Enter a JSON list of texts"),
        ({"transport": "stdio", "url": "", "command": "npx", "arguments": "--root"}, "Enter a valid JSON"),
        ({"transport": "builtin"}, "valid choice"),
        ({"headers": "Bearer canary-pasted"}, "Write each on a line of its own"),
        ({"headers": "X-Key: 1\nX-Key: 2"}, "is there twice"),
        ({"headers": "Host: a"}, "Parley sets Host itself"),
        ({"environment": "1A=x"}, "is no name of a variable"),
        ({"environment": "\n".join(f"A{n}=1" for n in range(51))}, "At most 50 variables"),
        ({"call_seconds": "0"}, "From 1 to 600 seconds"),
        ({"call_seconds": "601"}, "From 1 to 600 seconds"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_mistakes_are_explained_and_nothing_is_stored(desk: Client, fields: dict[str, str], words: str) -> None:
    page = text(desk.post(ADD, filled(**fields)))
    assert words in page
    assert "canary" not in page
    assert not McpServer.objects.remote().exists()


def test_the_form_says_that_nothing_is_expanded(desk: Client) -> None:
    page = text(desk.get(ADD))
    assert "nothing in them is expanded" in page
    assert "There is no shell" in page


def test_secrets_are_never_shown_again_and_only_their_names(desk: Client, house: McpServer) -> None:
    refused = desk.post(to("change", house), filled(name="", headers="X-Other: canary-typed"))
    for response in (desk.get(LIST), desk.get(to("change", house)), refused):
        assert "canary" not in text(response)
    assert '<div class="readonly">X-Key</div>' in text(desk.get(to("change", house)))


def test_blank_keeps_them_new_ones_replace_them_and_clear_forgets_them(desk: Client, house: McpServer) -> None:
    def save(**fields: Any) -> dict[str, str]:
        assert desk.post(to("change", house), filled(**fields)).status_code == 302
        house.refresh_from_db()
        return headers_of(house)

    assert save(name="Renamed") == {"X-Key": "canary-1"}
    assert (house.name, house.prefix, house.status) == ("Renamed", "house", "ready")
    assert save(headers="X-New: canary-3") == {"X-New": "canary-3"}
    assert "canary" not in LogEntry.objects.latest("pk").change_message
    refused = desk.post(to("change", house), filled(headers="X-Key: 1", clear_headers="on"))
    assert "Either enter new ones or clear" in text(refused)
    assert save(clear_headers="on") == {}


def test_another_host_is_another_server(transactional_db: None, desk: Client, mcp: FakeMcpServer) -> None:
    house = McpServer.objects.create(name="House", prefix="house", url="http://a.internal/", headers='{"X-Key": "c"}')
    tool = make_tool(house, policy="allow")
    page = text(desk.post(to("change", house), filled(url=mcp.url)))
    assert "It is another server by this: enter them anew, or clear them." in page
    assert Tool.objects.filter(pk=tool.pk).exists()
    mcp.tools = [FakeTool("find")]
    assert "offers 1 tool" in looked(desk, desk.post(to("change", house), filled(url=mcp.url, headers="X-Key: d")))
    assert list(house.tools.values_list("name", "policy")) == [("find", "")]


def test_secrets_that_cannot_be_read_are_kept_until_they_are_another_servers(desk: Client, house: McpServer) -> None:
    with override_settings(ENCRYPTION_KEYS=["quite another key"]):
        assert "ENCRYPTION_KEYS" in text(desk.get(to("change", house)))
        desk.post(to("change", house), filled(name="Renamed"))
    house.refresh_from_db()
    assert headers_of(house) == {"X-Key": "canary-1"}
    with override_settings(ENCRYPTION_KEYS=["quite another key"], MCP_TEST_SECONDS=0.01):
        desk.post(to("change", house), filled(url="http://b.internal/"))
    house.refresh_from_db()
    assert (house.url, headers_of(house)) == ("http://b.internal/", {})


def test_two_of_one_name_have_prefixes_of_their_own(db: None) -> None:
    group = Group.objects.create(name="g")
    for number in range(2):
        server = McpServer(name="Same", url=f"http://a{number}.internal/")
        server.full_clean(exclude=["prefix"])
        save_shared_server(server)
        server.groups.add(group)
    assert set(McpServer.objects.remote().values_list("prefix", flat=True)) == {"same", "same_2"}


# ---------------------------------------------------------------- who may start programs
def test_only_superusers_name_programs(clerk: Client, desk: Client, house: McpServer) -> None:
    page = text(clerk.get(ADD))
    assert 'name="command"' not in page
    assert "stdio" not in page
    assert "valid choice" in text(clerk.post(ADD, filled(transport="stdio", url="", command="sh")))
    program = McpServer.objects.create(name="P", prefix="p", transport="stdio", command="npx", environment='{"A": "1"}')
    base = {"name": "Q", "transport": "stdio", "enabled": "on"}
    more = {"command": "sh", "environment": "A=2", "arguments": '["-c"]'}
    for sent in (base | more, base | {"clear_environment": "on"}, base):
        assert clerk.post(to("change", program), sent).status_code in {302, 303}
        program.refresh_from_db()
        assert (program.name, program.command, program.arguments) == ("Q", "npx", [])
        assert endpoint_of(program).environment == {"A": "1"}
    assert 'name="command"' in text(desk.get(to("change", program)))


def test_a_person_can_start_no_program(owner: User, client_of: Callable[[User], Client], owned: McpServer) -> None:
    sent = {"name": "X", "url": owned.url, "transport": "stdio", "command": "sh", "arguments": '["-c", "id"]'}
    client_of(owner).post(reverse("pages:edit_server", args=[owned.pk]), sent)
    owned.refresh_from_db()
    assert (owned.transport, owned.command, owned.arguments) == ("http", "", [])


# ---------------------------------------------------------------- people's own, and the one that is built in
def test_peoples_servers_are_seen_and_switched_off_and_nothing_private_is_read(
    desk: Client, owned: McpServer, owner: User
) -> None:
    McpServer.objects.filter(pk=owned.pk).update(error_message="private-path was not found")
    told = {"server": owned.pk, "since": "2026-11-30T01:00:00+00:00", "to": LIST}
    McpServer.objects.filter(pk=owned.pk).update(checked_at=timezone.now())
    looked_at = text(desk.get(f"{LIST}looked/", told, follow=True))
    for page in (text(desk.get(LIST)), text(desk.get(to("change", owned))), looked_at):
        assert owner.email in page
        assert "mcp.example.org" in page
        assert "private-path" not in page
        assert "canary" not in page
        assert "X-Olive" not in page
    sent = {"name": "Other", "url": "http://evil.example/", "headers": "A: b", "transport": "stdio", "command": "sh"}
    assert desk.post(to("change", owned), sent).status_code == 302
    owned.refresh_from_db()
    assert (owned.enabled, owned.name, owned.transport, owned.command) == (False, "Of Olive", "http", "")
    assert headers_of(owned) == {"X-Olive": "canary-2"}
    assert LogEntry.objects.filter(object_id=str(owned.pk)).exists()
    assert desk.get(to("delete", owned)).status_code == 403
    assert "its person&#x27;s to look at" in text(desk.post(to("look", owned), follow=True))


@pytest.mark.parametrize("column", ["url", "headers", "environment", "command", "error_message"])
def test_nobody_finds_out_what_is_private_by_filters(desk: Client, owned: McpServer, column: str) -> None:
    assert desk.get(LIST, {f"{column}__startswith": "https"}).status_code in {302, 400}


def test_the_one_that_is_built_in_is_seen_switched_off_and_not_deleted(desk: Client) -> None:
    builtin = McpServer.objects.get(transport="builtin")
    assert ">Parley<" in text(desk.get(LIST))
    assert "Look what it offers" not in text(desk.get(to("change", builtin)))
    assert "always here" in text(desk.post(to("look", builtin), follow=True))
    group = Group.objects.create(name="Some")
    assert desk.post(to("change", builtin), {"groups": [group.pk], "transport": "http"}).status_code == 302
    builtin.refresh_from_db()
    assert (builtin.enabled, builtin.transport, builtin.status) == (False, "builtin", "ready")
    assert list(builtin.groups.all()) == [group]
    assert desk.post(to("delete", builtin), {"post": "yes"}).status_code == 403


def test_the_operators_own_is_deleted_with_its_tools(desk: Client, house: McpServer) -> None:
    make_tool(house)
    page = text(desk.get(to("delete", house)))
    assert "Tools: 1" in page
    desk.post(to("delete", house), {"post": "yes"})
    assert not McpServer.objects.filter(pk=house.pk).exists()


# ---------------------------------------------------------------- looking
def test_the_button_and_the_action_look_what_it_offers(
    transactional_db: None, desk: Client, mcp: FakeMcpServer, owned: McpServer
) -> None:
    mcp.tools = [FakeTool("find")]
    house = McpServer.objects.create(name="House", prefix="house", url=mcp.url)
    assert "House: It answers, and offers 1 tool." in looked(desk, desk.post(to("look", house)))
    mcp.tools = [FakeTool("find", "Another")]
    chosen = {"action": "look_at", "_selected_action": [house.pk, owned.pk]}
    page = looked(desk, desk.post(LIST, chosen))
    assert "House: It answers, and offers 1 tool." in page
    assert "House: 1 changed, and suspended until accepted under Tools." in page
    assert "its person&#x27;s to look at" in page
    mcp.order("connect", Fault(drop=True))
    page = looked(desk, desk.post(to("look", house)))
    assert "closed the connection" in page
    assert "not reachable" in page


def test_a_look_is_only_posted_and_only_by_those_who_may_change(
    desk: Client, house: McpServer, staff: User, owner: User, client_of: Callable[[User], Client]
) -> None:
    assert desk.get(to("look", house)).status_code == 405
    assert client_of(staff).post(to("look", house)).status_code == 403
    assert client_of(owner).post(to("look", house)).status_code == 302
    assert client_of(staff).get(LIST).status_code == 403
    house.delete()
    assert desk.post(reverse("admin:tools_mcpserver_look", args=[house.pk or owner.pk])).status_code == 404


def test_staff_who_wait_for_slow_servers_hold_up_nobody(
    live: LiveServer, superuser: User, session_of: Callable[[User], str], mcp: FakeMcpServer
) -> None:
    mcp.order("initialize", Fault(hang=True))
    mcp.order("server/discover", Fault(hang=True))
    rows = [McpServer.objects.create(name=f"H{n}", prefix=f"h{n}", url=mcp.url) for n in range(6)]
    cookies = {"sessionid": session_of(superuser), "csrftoken": "c" * 32}
    chosen = {"action": "look_at", "_selected_action": [row.pk for row in rows], "csrfmiddlewaretoken": "c" * 32}

    def look(_: int) -> requests.Response:
        return requests.post(f"{live.base_url}{LIST}", chosen, cookies=cookies, allow_redirects=False, timeout=30)

    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(look, number) for number in range(5)]
        assert mcp.wait_requests(5 * len(rows), timeout=10)
        page = requests.get(f"{live.base_url}{LIST}", cookies=cookies, timeout=15).text
        assert "Select MCP server to change" in page
        assert not any(one.done() for one in waiting)
        mcp.reset()
        assert {one.result().status_code for one in waiting} == {303}
    told = requests.get(f"{live.base_url}{waiting[0].result().headers['Location']}", cookies=cookies, timeout=10).text
    assert all(f"{row.name}: " in told for row in rows)


def test_so_many_are_not_looked_at_at_once(desk: Client) -> None:
    rows = [McpServer.objects.create(name=f"H{n}", prefix=f"h{n}", url="http://10.0.0.1/") for n in range(21)]
    chosen = {"action": "look_at", "_selected_action": [row.pk for row in rows]}
    assert "at most 20 servers at a time" in text(desk.post(LIST, chosen, follow=True))


@pytest.mark.parametrize("query", [{"to": "https://evil.example/"}, {"to": "//evil.example"}, {}])
def test_a_look_leads_back_to_pages_of_this_site_only(desk: Client, house: McpServer, query: dict[str, str]) -> None:
    since = "2026-11-30T01:00:00+00:00"
    assert desk.get(f"{LIST}looked/", {**query, "since": since, "server": house.pk}).status_code == 404
    good = {"to": LIST, "since": "2026-11-30T01:00:00+00:00", "server": house.pk}
    for bad in ({"server": "x"}, {"since": ""}, {"since": "now"}, {"since": "2026-11-30T01:00:00"}):
        assert desk.get(f"{LIST}looked/", good | bad).status_code == 404
    assert "House: It could not be looked at now." in text(desk.get(f"{LIST}looked/", good, follow=True))


# ---------------------------------------------------------------- lists
def test_lists_take_the_same_queries_for_any_number_of_rows(
    desk: Client, house: McpServer, owner: User, django_assert_num_queries, django_assert_max_num_queries
) -> None:
    make_tool(house)
    with django_assert_max_num_queries(12) as servers:
        desk.get(LIST)
    with django_assert_max_num_queries(14) as tools:
        desk.get(TOOLS)
    for number in range(8):
        made = McpServer.objects.create(name=f"N{number}", prefix=f"n{number}", user=owner if number % 2 else None)
        make_tool(made, changed=changed())
        make_tool(house, f"t{number}", description="x" * 900)
    with django_assert_num_queries(len(servers)):
        desk.get(LIST)
    with django_assert_num_queries(len(tools)):
        desk.get(TOOLS)


def test_servers_are_filtered_by_whose_they_are(desk: Client, house: McpServer, owned: McpServer) -> None:
    assert "Of Olive" not in text(desk.get(LIST, {"whose": "operator"}))
    assert ">House<" not in text(desk.get(LIST, {"whose": "people"}))
    assert "Of Olive" in text(desk.get(LIST, {"q": "owner@"}))


# ---------------------------------------------------------------- tools
def test_the_operators_policy_holds_for_everyone(desk: Client, house: McpServer, owner: User) -> None:
    tool, other = make_tool(house), make_tool(house, "other")
    set_policy(owner, tool, "allow")
    form = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "2", "_save": "Save"}
    form |= {"form-0-id": tool.pk, "form-0-policy": "deny", "form-1-id": other.pk, "form-1-policy": ""}
    assert desk.post(f"{TOOLS}?server__id__exact={house.pk}", form).status_code == 302
    assert Tool.objects.with_choice_of(owner).get(pk=tool.pk).policy_chosen == "deny"
    assert LogEntry.objects.filter(object_id=str(tool.pk)).exists()
    assert (
        desk.post(to("change", tool), {"policy": "allow", "description": "Mine", "is_read_only": "on"}).status_code
        == 302
    )
    tool.refresh_from_db()
    assert (tool.policy, tool.description, tool.is_read_only) == ("allow", "", False)


def test_tools_of_people_are_not_here(desk: Client, owned: McpServer) -> None:
    tool = make_tool(owned, "private_tool")
    assert "private_tool" not in text(desk.get(TOOLS))
    assert "private_tool" not in text(desk.get(to("change", tool), follow=True))
    assert desk.post(to("change", tool), {"policy": "deny"}).status_code == 302
    tool.refresh_from_db()
    assert tool.policy == ""


def test_what_a_server_says_is_text(desk: Client, house: McpServer) -> None:
    McpServer.objects.filter(pk=house.pk).update(
        name=PAYLOAD, about={"name": PAYLOAD}, notices=[PAYLOAD], error_message=PAYLOAD
    )
    said = {"title": PAYLOAD, "description": f"{PAYLOAD}\u202e", "input_schema": {PAYLOAD: 1}}
    tool = make_tool(house, PAYLOAD, **said, annotations={"x": PAYLOAD}, changed=changed(title=PAYLOAD + "2"))
    confirm = desk.post(TOOLS, {"action": "accept_changes", "_selected_action": [tool.pk]})
    for response in (
        desk.get(LIST),
        desk.get(TOOLS),
        desk.get(to("change", tool)),
        desk.get(to("change", house)),
        confirm,
    ):
        page = text(response)
        assert PAYLOAD not in page
        assert "\u202e" not in page


def test_tools_are_neither_added_nor_deleted(desk: Client, house: McpServer) -> None:
    tool = make_tool(house)
    assert desk.get(reverse("admin:tools_tool_add")).status_code == 403
    assert desk.post(to("delete", tool), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("state", "name"), [("usable", "fine"), ("changed", "suspended"), ("broken", "broken"), ("gone", "past")]
)
def test_tools_are_filtered_by_state(desk: Client, house: McpServer, state: str, name: str) -> None:
    made = {
        "fine": make_tool(house, "fine"),
        "suspended": make_tool(house, "suspended", changed=changed()),
        "broken": make_tool(house, "broken", problem="Too long."),
        "past": make_tool(house, "past", is_listed=False),
    }
    page = text(desk.get(TOOLS, {"state": state}))
    assert {known for known, tool in made.items() if to("change", tool) in page} == {name}


def test_what_changed_is_shown_and_accepted_as_it_was_seen(desk: Client, house: McpServer, owner: User) -> None:
    tool = make_tool(house, description="Finds.", changed=changed(description="Finds and sends."))
    other = make_tool(house, "other", changed=changed(description="Now."))
    make_tool(house, "same")
    set_policy(owner, tool, "allow")
    page = text(desk.get(to("change", tool)))
    assert "<del>Finds.</del>" in page
    assert "Accept what has changed" in page
    ask = {"action": "accept_changes", "_selected_action": [row.pk for row in house.tools.all()]}
    page = text(desk.post(TOOLS, ask))
    assert "<ins>Finds and sends.</ins>" in page
    assert "House: same" not in page
    marks = {name: page.split(f'name="seen-{row.pk}" value="')[1][:64] for name, row in (("t", tool), ("o", other))}
    Tool.objects.filter(pk=other.pk).update(changed=changed(description="Worse."))
    sure = ask | {"confirmed": "yes", f"seen-{tool.pk}": marks["t"], f"seen-{other.pk}": marks["o"]}
    page = text(desk.post(TOOLS, sure, follow=True))
    assert "Accepted as it is now: look_up" in page
    assert "Not accepted: other." in page
    assert "Look at the difference again" in page
    tool.refresh_from_db()
    other.refresh_from_db()
    assert (tool.description, tool.is_suspended, tool.choices.count()) == ("Finds and sends.", False, 0)
    assert (other.description, other.is_suspended) == ("", True)
    assert "Accepted as its server offers it now." in str(LogEntry.objects.get(object_id=str(tool.pk)))
    assert "None of these has changed." in text(
        desk.post(TOOLS, {"action": "accept_changes", "_selected_action": [tool.pk]}, follow=True)
    )


def test_those_who_only_look_accept_nothing(staff: User, client_of: Callable[[User], Client], house: McpServer) -> None:
    tool = make_tool(house, changed=changed(title="x"))
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_tool", "view_mcpserver"]))
    reader = client_of(staff)
    assert "Accept what has changed" not in text(reader.get(to("change", tool)))
    reader.post(TOOLS, {"action": "accept_changes", "_selected_action": [tool.pk], "confirmed": "yes"})
    tool.refresh_from_db()
    assert tool.is_suspended
    assert "canary" not in text(reader.get(to("change", house)))


# ---------------------------------------------------------------- the model itself
def test_the_model_refuses_what_makes_no_sense() -> None:
    for fields in ({"url": ""}, {"transport": "stdio"}, {"transport": "stdio", "command": "a\nb"}):
        with pytest.raises(ValidationError):
            McpServer(name="x", **fields).clean()
    McpServer(name="x", transport="builtin").clean()
