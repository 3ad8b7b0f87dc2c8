"""manage.py add_mcp_server, as operators and scripts call it."""

import json
import sys
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from chats.tools.models import McpServer
from chats.tools.services import endpoint_of, headers_of
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool

NOWHERE = "http://127.0.0.1:9/mcp"


@pytest.fixture(autouse=True)
def _patience(settings: Any, transactional_db: None) -> None:
    settings.MCP_TEST_SECONDS = 20


def add(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("add_mcp_server", *arguments, stdout=out)
    return json.loads(out.getvalue())


def refused(*arguments: str) -> dict[str, Any]:
    err = StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("add_mcp_server", *arguments, stderr=err)
    assert caught.value.code == 1
    return json.loads(err.getvalue())["error"]


def test_it_adds_a_server_for_groups_and_says_what_it_offers(mcp: FakeMcpServer) -> None:
    mcp.tools = [FakeTool("send"), FakeTool("find")]
    mcp.require_header("X-Key", "canary:1")
    Group.objects.create(name="Readers")
    shown = add("House wiki", "--url", mcp.url, "--header", "X-Key: canary:1", "--group", "Readers")
    server = McpServer.objects.get(name="House wiki")
    assert shown == {
        "id": str(server.pk),
        "name": "House wiki",
        "transport": "http",
        "url": mcp.url,
        "command": "",
        "enabled": True,
        "groups": ["Readers"],
        "status": "ready",
        "message": "It answers, and offers 2 tools.",
        "tools": ["find", "send"],
        "created": True,
    }
    assert (server.user, server.prefix, headers_of(server)) == (None, "house_wiki", {"X-Key": "canary:1"})


def test_called_again_it_changes_what_was_given_and_keeps_the_rest(mcp: FakeMcpServer) -> None:
    mcp.tools = [FakeTool("find")]
    first = add("House", "--url", mcp.url, "--header", "X-Key: 1")
    again = add("House", "--disabled")
    assert (again["id"], again["created"], again["enabled"], again["url"]) == (first["id"], False, False, mcp.url)
    server = McpServer.objects.get(name="House")
    assert headers_of(server) == {"X-Key": "1"}
    # Another host is another server: what let one in there is not shown to it.
    moved = add("House", "--url", NOWHERE)
    server.refresh_from_db()
    assert (moved["status"], moved["tools"], headers_of(server)) == ("failed", [], {})


def test_a_program_is_started_with_its_arguments(settings: Any) -> None:
    settings.MCP_TEST_SECONDS = 0.5
    shown = add("Files", "--command", sys.executable, "--arg=-c", "--arg=pass", "--env", "A=b=c")
    server = McpServer.objects.get(name="Files")
    assert (shown["transport"], shown["status"], server.arguments) == ("stdio", "failed", ["-c", "pass"])
    assert endpoint_of(server).environment == {"A": "b=c"}
    now_http = add("Files", "--url", NOWHERE)
    server.refresh_from_db()
    assert (now_http["transport"], server.command, server.arguments) == ("http", "", [])
    assert endpoint_of(server).environment == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs its address"),
        (["--url", NOWHERE, "--command", "npx"], "either --url or --command"),
        (["--url", "nonsense"], "must begin with http"),
        (["--url", NOWHERE, "--header", "Bearer canary"], "Write a name"),
        (["--url", NOWHERE, "--header", "Host: a"], "Parley sets Host itself"),
        (["--command", "npx", "--env", "=1"], "Write a name"),
        (["--url", NOWHERE, "--group", "Nobody"], "There is no group"),
    ],
)
def test_mistakes_are_explained_and_nothing_is_stored(arguments: list[str], words: str) -> None:
    error = refused("House", *arguments)
    said = json.dumps(error)
    assert words in said
    assert "canary" not in said
    assert not McpServer.objects.remote().exists()


def test_servers_of_people_and_of_one_name_are_left_alone(owner: Any) -> None:
    McpServer.objects.create(user=owner, name="House", prefix="house", url=NOWHERE)
    add("House", "--url", NOWHERE)
    assert McpServer.objects.filter(name="House").count() == 2
    McpServer.objects.create(name="House", prefix="house_2", url=NOWHERE)
    assert "several servers" in refused("House", "--disabled")["message"]
