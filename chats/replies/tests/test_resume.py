"""The law of resumable streams: for every number, what stood then and the later events make the saved message."""

import threading

from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply
from chats.replies.services import start_reply
from chats.services import create_chat
from config.tests.live import wait_until
from config.tests.sockets import text_of
from config.tests.threads import in_thread

WORDS = [f" word{i}" for i in range(120)]


async def _events_after(open_socket, owner, reply, after):
    async with await open_socket(owner, reply.chat_id) as socket:
        await socket.send("reply.follow", reply=str(reply.pk), after=after)
        return [event for event in await socket.receive_until("reply.finished") if "seq" in event]


async def test_from_every_number_on_the_rest_makes_the_saved_message(
    owner, live, openai_model, fake_provider, open_socket
):
    fake_provider.script("fake-1", Script(chunks=WORDS, tokens_per_second=600))
    started = await in_thread(start_reply, owner, content="Count")
    events = await _events_after(open_socket, owner, started.reply, 0)
    saved = (await in_thread(Message.objects.get, pk=started.answer.pk)).content

    assert saved == "".join(WORDS)
    async with await open_socket(owner, started.chat) as socket:
        for cut in range(len(events)):
            await socket.send("reply.follow", reply=str(started.reply.pk), after=events[cut]["seq"])
            is_last = cut == len(events) - 1
            rest = [] if is_last else await socket.receive_until("reply.finished")
            assert text_of(events[: cut + 1] + rest) == saved
            assert [event["seq"] for event in rest] == list(range(events[cut]["seq"] + 1, events[-1]["seq"] + 1))


async def test_a_viewer_who_comes_in_the_middle_sees_what_is_there_and_then_the_rest_once(
    owner, live, openai_model, fake_provider, open_socket
):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=gate, gate_after=60))
    started = await in_thread(start_reply, owner, content="Count")

    async with await open_socket(owner, started.chat) as first:
        await first.send("reply.follow", reply=str(started.reply.pk), after=0)
        seen = []
        while text_of(seen) != "".join(WORDS[:60]):
            seen.append(await first.receive())
        async with await open_socket(owner, started.chat) as second:
            await second.send("reply.follow", reply=str(started.reply.pk), after=seen[-1]["seq"])
            gate.set()
            rest = [event for event in await second.receive_until("reply.finished") if "seq" in event]

    assert text_of(seen + rest) == "".join(WORDS)
    assert rest[0]["seq"] == seen[-1]["seq"] + 1


async def test_a_reply_no_longer_in_memory_is_told_from_its_row(owner, live, openai_model, open_socket):
    chat = await in_thread(create_chat, owner)
    started = await in_thread(start_reply, owner, chat_id=chat.pk, content="Hi")
    await _events_after(open_socket, owner, started.reply, 0)
    # As after a restart: another row, which no log of this process has ever seen.
    stored = await in_thread(_copy_of, started.reply)

    for after, kinds in [
        (0, ["reply.snapshot", "reply.finished"]),
        (stored.snapshot_seq, ["reply.finished"]),
        (stored.snapshot_seq + 500, ["reply.snapshot", "reply.finished"]),
    ]:
        events = await _events_after(open_socket, owner, stored, after)
        assert [event["type"] for event in events] == kinds
        assert events[-1]["message"]["content"] == "Echo: Hi"


def _copy_of(reply: Reply) -> Reply:
    original = Reply.objects.get(pk=reply.pk)
    message = Message.objects.create(chat_id=original.chat_id, role="assistant", content="Echo: Hi")
    return Reply.objects.create(
        chat_id=original.chat_id,
        user_id=original.user_id,
        message=message,
        status=original.status,
        snapshot_seq=original.snapshot_seq,
    )


async def test_what_a_viewer_has_seen_is_in_the_row_within_a_second(
    owner, live, openai_model, fake_provider, open_socket
):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=gate, gate_after=30))
    started = await in_thread(start_reply, owner, content="Count")
    async with await open_socket(owner, started.chat) as socket:
        await socket.send("reply.follow", reply=str(started.reply.pk), after=0)
        seen = []
        while text_of(seen) != "".join(WORDS[:30]):
            seen.append(await socket.receive())
        is_stored = lambda: _stored_text(started) == "".join(WORDS[:30])  # noqa: E731
        await in_thread(wait_until, is_stored, seconds=5, what="the words seen are stored")
        gate.set()
        await socket.receive_until("reply.finished")


def _stored_text(started) -> str:
    return Message.objects.values_list("content", flat=True).get(pk=started.answer.pk)
