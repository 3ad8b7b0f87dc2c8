"""Whose tools a person sees: their own, and the operator's for all or for a group they are in."""

import pytest
from django.contrib.auth.models import Group

from accounts.models import User
from chats.errors import Conflict
from chats.tools.models import McpServer, Tool
from chats.tools.services import add_server, find_tools, set_policy


@pytest.fixture
def shared(db: None) -> McpServer:
    return McpServer.objects.create(name="Shared", prefix="shared", url="http://10.0.0.1/mcp", status="ready")


def tool_of(server: McpServer, name: str = "write", **more: object) -> Tool:
    return Tool.objects.create(server=server, name=name, called=f"{server.prefix}__{name}", pinned_hash="x", **more)


def seen_by(user: User) -> set[str]:
    return set(McpServer.objects.visible_to(user).remote().values_list("name", flat=True))


def test_a_server_of_ones_own_is_seen_by_nobody_else(owner: User, stranger: User, superuser: User) -> None:
    server = add_server(owner, name="Mine", url="https://example.com/mcp", headers={})
    tool = tool_of(server)
    assert seen_by(owner) == {"Mine"}
    assert seen_by(stranger) == seen_by(superuser) == set()
    assert not Tool.objects.visible_to(stranger).filter(pk=tool.pk).exists()
    assert not McpServer.objects.editable_by(superuser).exists()


def test_a_shared_server_is_for_all_or_for_its_groups(owner: User, stranger: User, shared: McpServer) -> None:
    assert seen_by(owner) == seen_by(stranger) == {"Shared"}
    for name in ("one", "two"):
        group = Group.objects.create(name=name)
        shared.groups.add(group)
        owner.groups.add(group)
    assert (seen_by(owner), seen_by(stranger)) == ({"Shared"}, set())
    assert McpServer.objects.visible_to(owner).remote().count() == 1, "once, however many groups"
    shared.enabled = False
    shared.save()
    assert seen_by(owner) == set()
    assert not McpServer.objects.editable_by(owner).exists()


def test_each_decides_for_themselves_and_the_operator_for_all(owner: User, stranger: User, shared: McpServer) -> None:
    tool = tool_of(shared)
    set_policy(owner, tool, "allow")
    assert find_tools(owner).get(pk=tool.pk).policy_chosen == "allow"
    assert find_tools(stranger).get(pk=tool.pk).policy_chosen == "ask"
    Tool.objects.filter(pk=tool.pk).update(policy="deny")
    tool.refresh_from_db()
    assert {find_tools(user).get(pk=tool.pk).policy_chosen for user in (owner, stranger)} == {"deny"}
    with pytest.raises(Conflict):
        set_policy(stranger, tool, "allow")


def test_two_servers_of_one_name_have_tools_of_two_names(owner: User) -> None:
    prefixes = [
        add_server(owner, name=name, url="https://example.com/mcp", headers={}).prefix
        for name in ("My tools!", "my tools", "ÄÖÜ", "x" * 100, "x" * 99)
    ]
    assert prefixes == ["my_tools", "my_tools_2", "server", "x" * 20, "x" * 18 + "_2"]
