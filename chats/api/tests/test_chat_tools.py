"""Which servers' tools the answers of a chat may use."""

import pytest

from chats import services
from chats.branches import fork_chat
from chats.models import Chat
from chats.replies.services import start_reply
from chats.tool_use import SERVERS_MAX, ToolUse
from chats.tools.models import McpServer

URL = "/api/v1/chats/"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def server(owner):
    return McpServer.objects.create(user=owner, name="Mine", prefix="mine", url="https://example.org/mcp")


def test_a_chat_uses_the_tools_of_all_servers_of_some_or_of_none(api, server):
    made = api.post(URL, {"tools": {"servers": [str(server.pk)] * 2}}).json()
    assert made["tools"] == {"servers": [str(server.pk)]}
    address = f"{URL}{made['id']}/"
    for tools in ({"servers": []}, None, {"servers": [str(server.pk)]}):
        assert api.patch(address, {"tools": tools}).json()["tools"] == tools
    assert api.patch(address, {"title": "Other"}).json()["tools"] == {"servers": [str(server.pk)]}
    assert api.get(address).json()["tools"] == {"servers": [str(server.pk)]}
    assert api.post(URL, {}).json()["tools"] is None


@pytest.mark.parametrize(
    "tools", [{}, {"servers": None}, {"servers": ["x"]}, {"servers": [NOBODY]}, [], "all", {"servers": [NOBODY] * 101}]
)
def test_what_names_no_servers_is_refused(api, tools):
    assert SERVERS_MAX == 100
    response = api.post(URL, {"tools": tools})
    assert (response.status_code, "tools" in str(response.json()["error"]["fields"])) == (400, True)
    assert not Chat.objects.exists()


def test_a_strangers_server_is_like_one_that_is_not_there(api, owner, stranger):
    theirs = McpServer.objects.create(user=stranger, name="Theirs", prefix="t", url="https://example.org/mcp")
    chat = services.create_chat(owner)
    answers = [api.patch(f"{URL}{chat.pk}/", {"tools": {"servers": [pk]}}).json() for pk in (str(theirs.pk), NOBODY)]
    assert answers[0]["error"]["fields"] == answers[1]["error"]["fields"]
    assert services.update_chat(chat, tools=None).tools is None


def test_what_a_send_chooses_holds_for_its_chat_and_for_its_forks(owner, server, demo_model):
    chat = start_reply(owner, content="Hi", use_tools=ToolUse([server.pk])).chat
    assert Chat.objects.get(pk=chat.pk).tools == {"servers": [str(server.pk)]}
    chat.replies.update(status="stopped")
    start_reply(owner, content="And now", chat_id=chat.pk)
    assert Chat.objects.get(pk=chat.pk).tools == {"servers": [str(server.pk)]}
    chat.replies.update(status="stopped")
    fork, _ = fork_chat(owner, chat.messages.get(content="Hi"))
    assert fork.tools == {"servers": [str(server.pk)]}
    start_reply(owner, content="With all", chat_id=chat.pk, use_tools=ToolUse(None))
    assert Chat.objects.get(pk=chat.pk).tools is None
