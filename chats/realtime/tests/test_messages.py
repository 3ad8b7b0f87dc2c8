"""What clients may say on a socket, and what they hear when they say something else."""

import json

import pytest

from chats.branches import delete_branch
from chats.models import Message, Reply
from chats.replies.services import start_reply
from chats.services import create_chat
from config.tests.threads import in_thread


@pytest.fixture
def chat(live, owner):
    return create_chat(owner)


BAD_MESSAGES = [
    "",
    "not json",
    "[]",
    "3",
    '"message.send"',
    "{}",
    '{"type": "unknown"}',
    '{"type": ["message.send"]}',
    '{"type": "message.send"}',
    '{"type": "message.send", "content": 5}',
    '{"type": "message.send", "content": null}',
    '{"type": "message.send", "content": "   "}',
    '{"type": "message.send", "content": "Hi", "model": 7}',
    '{"type": "message.send", "content": "Hi", "client_id": {}}',
    '{"type": "message.send", "content": "Hi", "client_id": ""}',
    '{"type": "reply.follow"}',
    '{"type": "reply.follow", "reply": 5}',
    '{"type": "reply.follow", "reply": "x"}',
    '{"type": "reply.follow", "reply": "018f0000-0000-7000-8000-000000000000", "after": -1}',
    '{"type": "reply.follow", "reply": "018f0000-0000-7000-8000-000000000000", "after": true}',
    '{"type": "reply.follow", "reply": "018f0000-0000-7000-8000-000000000000", "after": "1"}',
    '{"type": "reply.follow", "reply": "018f0000-0000-7000-8000-000000000000"}',
    '{"type": "reply.stop", "reply": null}',
]


@pytest.mark.parametrize("text", BAD_MESSAGES)
async def test_a_bad_message_gets_an_error_and_the_socket_stays_open(owner, chat, open_socket, text):
    async with await open_socket(owner, chat) as socket:
        await socket.connection.send(text)
        error = await socket.receive()
        assert error["type"] == "error"
        assert error["error"]["code"] in {"invalid", "not_found"}
        assert error["error"]["message"]
        await socket.connection.send(b"\xff\xfe")
        assert (await socket.receive())["error"]["code"] == "invalid"
    assert not await in_thread(Message.objects.exists)


async def test_an_error_names_the_client_id_it_belongs_to(owner, chat, open_socket):
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Hi", model="no such model", client_id="c7")
        error = await socket.receive()
    assert error["client_id"] == "c7"
    assert error["error"]["code"] == "model_unavailable"


async def test_a_disabled_model_is_refused(owner, chat, demo_model, open_socket):
    demo_model.enabled = False
    await in_thread(demo_model.save)
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Hi", model=str(demo_model.pk))
        assert (await socket.receive())["error"]["code"] == "model_unavailable"


async def test_a_reply_of_another_chat_is_not_found(owner, stranger, chat, demo_model, open_socket):
    theirs = await in_thread(start_reply, stranger, content="help")
    other = await in_thread(start_reply, owner, content="help")
    async with await open_socket(owner, chat) as socket:
        for reply in (theirs.reply, other.reply):
            for kind in ("reply.follow", "reply.stop"):
                await socket.send(kind, reply=str(reply.pk))
                assert (await socket.receive())["error"]["code"] == "not_found"
    stopped = await in_thread(Reply.objects.filter(stop_requested_at__isnull=False).exists)
    assert not stopped


async def test_a_reply_whose_message_is_deleted_is_gone(owner, chat, run_elsewhere, open_socket):
    reply = await in_thread(run_elsewhere, chat)
    gone = {"type": "reply.gone", "reply": str(reply.pk)}
    async with await open_socket(owner, chat) as socket:
        await socket.send("reply.follow", reply=str(reply.pk))
        await socket.receive_until("reply.snapshot")
        await in_thread(delete_branch, reply.message)
        assert (await socket.receive_until("reply.gone"))[-1] == gone
        await socket.send("reply.follow", reply=str(reply.pk), after=3)
        assert (await socket.receive_until("reply.gone"))[-1] == gone


async def test_who_has_seen_the_end_is_not_told_that_it_is_gone(owner, chat, demo_model, open_socket):
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="help")
        end = (await socket.receive_until("reply.finished"))[-1]
        await socket.send("reply.follow", reply=end["reply"], after=end["seq"])
        await socket.send("chats.watch")
        heard = await socket.receive_until("chats.watched")
    assert "reply.gone" not in {event["type"] for event in heard}


async def test_stop_on_the_socket_ends_the_reply(owner, chat, demo_model, open_socket):
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="long answer")
        first = (await socket.receive_until("text.delta"))[-1]
        await socket.send("reply.stop", reply=first["reply"])
        finished = (await socket.receive_until("reply.finished"))[-1]
    assert finished["status"] == "stopped"
    assert finished["message"]["content"].startswith(first["text"])


async def test_one_message_seen_by_two_tabs(owner, chat, demo_model, open_socket):
    async with await open_socket(owner, chat) as first, await open_socket(owner, chat) as second:
        await first.send("message.send", content="help")
        await second.receive_until("chat.changed")


async def test_a_repeated_send_is_answered_the_same(owner, chat, demo_model, open_socket):
    async with await open_socket(owner, chat) as socket:
        accepted = []
        for _ in range(3):
            await socket.send("message.send", content="help", client_id="same")
            accepted.append((await socket.receive_until("message.accepted"))[-1])
        await socket.receive_until("reply.finished")
    assert len({(event["message"]["id"], event["reply"]["id"]) for event in accepted}) == 1
    assert await in_thread(Message.objects.count) == 2


@pytest.mark.parametrize("content", ["NUL \0 in it", "half a pair \ud800 in it"], ids=ascii)
async def test_a_send_over_rest_is_known_again_on_the_socket(owner, api_of, chat, open_socket, content):
    body = {"content": content, "client_id": "same"}
    api = await in_thread(api_of, owner)
    sent = await in_thread(
        api.post, f"/api/v1/chats/{chat.pk}/messages/", json.dumps(body), content_type="application/json"
    )
    assert sent.status_code == 201
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", **body)
        accepted = (await socket.receive_until("message.accepted"))[-1]
        assert accepted["message"]["id"] == sent.json()["message"]["id"]
        await socket.receive_until("reply.finished")
    assert await in_thread(Message.objects.count) == 2


@pytest.mark.parametrize("name", ["client_id", "model", "content"])
async def test_half_of_a_pair_anywhere_is_answered(owner, chat, demo_model, open_socket, name):
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", **{"content": "help", "client_id": "c1", name: "\ud800"})
        said = await socket.receive()
    expected = {"client_id": "invalid", "model": "model_unavailable"}
    assert said.get("error", {}).get("code") == expected.get(name), said
    assert said["client_id"] == (None if name == "client_id" else "c1")


async def test_whoever_floods_is_shown_out(owner, chat, open_socket, settings):
    settings.SOCKET_MESSAGES_BURST = 5
    settings.SOCKET_MESSAGES_PER_SECOND = 1
    async with await open_socket(owner, chat) as socket:
        for _ in range(10):
            await socket.send("unknown")
        assert await socket.close_code() == 1008


async def test_a_message_over_the_limit_of_text_is_refused(owner, chat, demo_model, open_socket, settings):
    settings.MESSAGE_MAX_BYTES = 100
    async with await open_socket(owner, chat) as socket:
        await socket.connection.send(json.dumps({"type": "message.send", "content": "x" * 101}))
        assert (await socket.receive())["error"]["code"] == "too_large"
