"""Going on where an answer stopped: the whole text, from whatever moment one looks, and nothing finished changes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from chats import doorbell
from chats.errors import Conflict, NotFound
from chats.llm.tests.fake_provider import Script
from chats.llm.values import GO_ON
from chats.models import Message, Reply
from chats.replies.services import continue_reply, start_reply, stop_reply
from chats.services import delete_message
from config.tests.sockets import text_of
from config.tests.threads import in_thread

BEGINNING, REST = "Once upon a ti", "me, there was."


@pytest.fixture
def broken_off(say, ended, fake_provider):
    """An answer that ended without a finish reason, and a provider that knows the rest."""
    fake_provider.script("fake-1", Script(chunks=["Once upon", " a ti"], finish_reason=None, has_done=False))
    started = say("Tell me a story")
    assert ended(started).status == Reply.Status.INCOMPLETE
    fake_provider.script("fake-1", Script(chunks=["me, there", " was."]))
    return Reply.objects.select_related("user", "chat", "message").get(pk=started.reply.pk)


async def _events(open_socket, owner, reply, after=0):
    async with await open_socket(owner, reply.chat_id) as socket:
        await socket.send("reply.follow", reply=str(reply.pk), after=after)
        return await _rest_of_reply(socket)


async def _events_of_takeover(open_socket, owner, reply):
    """What a viewer of the attempt that was lost sees of the next one, from its beginning on."""
    async with await open_socket(owner, reply.chat_id) as socket:
        await socket.send("reply.follow", reply=str(reply.pk), after=7)
        await in_thread(doorbell.ring, "waiting", reply.pk)
        events = await _rest_of_reply(socket)
    # Between the claim and the first event the row already has the next numbers, and the text of the attempt before.
    return events[[event["type"] for event in events].index("reply.restarted") :]


async def _rest_of_reply(socket):
    return [event for event in await socket.receive_until("reply.finished") if "seq" in event]


def test_the_new_answer_begins_with_the_text_of_the_unfinished_one_and_stands_beside_it(
    broken_off, ended, fake_provider
):
    started = continue_reply(broken_off)
    reply = ended(started)
    assert (reply.status, reply.message.content) == (Reply.Status.COMPLETED, BEGINNING + REST)
    assert reply.message.parent_id == broken_off.message.parent_id
    assert reply.continues == broken_off
    broken_off.message.refresh_from_db()
    assert broken_off.message.content == BEGINNING
    started.chat.refresh_from_db()
    assert started.chat.current_leaf == reply.message

    messages = fake_provider.requests[-1].body["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "Tell me a story"),
        ("assistant", BEGINNING),
        ("user", GO_ON),
    ]


def test_only_the_new_part_is_estimated_and_booked(broken_off, ended, fake_provider):
    fake_provider.script("fake-1", Script(chunks=["me, there", " was."], usage=None))
    record = ended(continue_reply(broken_off)).usage_records.get()
    assert record.is_estimated
    assert record.output_tokens == 4


async def test_from_every_event_on_a_viewer_ends_with_the_whole_text(
    broken_off, ended, fake_provider, open_socket, owner
):
    reply = (await in_thread(continue_reply, broken_off)).reply
    events = await _events(open_socket, owner, reply)
    assert [event["type"] for event in events[-2:]] == ["text.delta", "reply.finished"]
    assert [event["seq"] for event in events] == list(range(events[0]["seq"], events[-1]["seq"] + 1))
    for cut in range(len(events) - 1):
        rest = await _events(open_socket, owner, reply, after=events[cut]["seq"])
        assert text_of(events[: cut + 1] + rest) == BEGINNING + REST


async def test_one_that_is_stopped_in_the_queue_still_has_the_text_it_began_with(
    broken_off, ended, fake_provider, open_socket, owner
):
    fake_provider.script("fake-1", Script(hang=True))
    ahead = await in_thread(start_reply, owner, content="Wait", chat_id=broken_off.chat_id)
    waiting = (await in_thread(continue_reply, broken_off)).reply
    await in_thread(stop_reply, waiting)
    events = await _events(open_socket, owner, waiting)
    assert text_of(events) == events[-1]["message"]["content"] == BEGINNING
    await in_thread(stop_reply, ahead.reply)


async def test_a_takeover_begins_with_the_text_that_stood_at_its_start(
    broken_off, ended, fake_provider, open_socket, owner
):
    reply = await in_thread(_abandoned, broken_off)
    events = await _events_of_takeover(open_socket, owner, reply)
    assert events[0]["text"] == BEGINNING
    assert text_of(events) == events[-1]["message"]["content"] == BEGINNING + REST
    assert fake_provider.requests[-1].body["messages"][-2]["content"] == BEGINNING


LONG = "".join(f"{n:05} " for n in range(12_000))


@pytest.fixture
def broken_off_late(say, ended, fake_provider, settings):
    """As `broken_off`, after more text than an event may have."""
    settings.EVENT_MAX_BYTES = 8_192
    fake_provider.script("fake-1", Script(chunks=[LONG], finish_reason=None, has_done=False))
    started = say("Tell me a long story")
    assert ended(started).message.content == LONG
    fake_provider.script("fake-1", Script(chunks=["me, there", " was."]))
    return Reply.objects.select_related("user", "chat", "prompt", "message").get(pk=started.reply.pk)


async def test_a_beginning_longer_than_an_event_is_told_in_several(broken_off_late, open_socket, owner):
    reply = (await in_thread(continue_reply, broken_off_late)).reply
    events = await _events(open_socket, owner, reply)
    assert len(events) > 8
    assert text_of(events) == LONG + REST
    async with await open_socket(owner, reply.chat_id) as socket:
        for cut in range(len(events) - 1):
            await socket.send("reply.follow", reply=str(reply.pk), after=events[cut]["seq"])
            rest = await socket.receive_until("reply.finished")
            assert text_of(events[: cut + 1] + rest) == LONG + REST
    assert socket.largest <= 8_192


async def test_a_takeover_tells_a_long_beginning_in_several_events(broken_off_late, open_socket, owner):
    reply = await in_thread(_abandoned, broken_off_late, LONG)
    events = await _events_of_takeover(open_socket, owner, reply)
    async with await open_socket(owner, reply.chat_id) as socket:
        assert LONG.startswith(events[0]["text"])
        assert text_of(events) == LONG + REST
        for cut in range(len(events) - 1):
            await socket.send("reply.follow", reply=str(reply.pk), after=events[cut]["seq"])
            rest = await socket.receive_until("reply.finished")
            assert text_of(events[: cut + 1] + rest) == LONG + REST
    assert socket.largest <= 8_192


def _abandoned(broken_off, beginning=BEGINNING):
    """A continuation whose worker died after a few words."""
    message = Message.objects.create(
        chat=broken_off.chat, parent=broken_off.prompt, role="assistant", content=f"{beginning}me, th"
    )
    reply = Reply.objects.create(
        chat=broken_off.chat,
        user=broken_off.user,
        prompt=broken_off.prompt,
        message=message,
        model=broken_off.model,
        continues=broken_off,
        kept_characters=len(beginning),
        status=Reply.Status.RUNNING,
        worker="gone",
        attempt=1,
        snapshot_seq=7,
        heartbeat_at=timezone.now() - timedelta(hours=1),
    )
    Message.objects.filter(pk=message.pk).update(reply=reply)
    # Its text does not depend on what becomes of the other answer.
    delete_message(broken_off.message)
    return reply


def test_a_stopped_and_an_interrupted_answer_can_be_continued_and_continued_again(broken_off, ended):
    Reply.objects.filter(pk=broken_off.pk).update(status=Reply.Status.INTERRUPTED)
    first = ended(continue_reply(broken_off))
    Reply.objects.filter(pk=first.pk).update(status=Reply.Status.STOPPED)
    second = ended(continue_reply(Reply.objects.get(pk=first.pk)))
    assert second.message.content == BEGINNING + REST + REST


@pytest.mark.parametrize("status", [Reply.Status.COMPLETED, Reply.Status.RUNNING, Reply.Status.FAILED])
def test_what_is_whole_running_or_failed_is_not_continued(broken_off, status):
    Reply.objects.filter(pk=broken_off.pk).update(status=status)
    with pytest.raises(Conflict):
        continue_reply(broken_off)
    Reply.objects.filter(pk=broken_off.pk).update(status=Reply.Status.FAILED)


def test_an_answer_without_a_word_or_without_its_question_is_not_continued(broken_off):
    Message.objects.filter(pk=broken_off.message_id).update(content="")
    with pytest.raises(Conflict):
        continue_reply(broken_off)
    Message.objects.filter(pk=broken_off.message_id).update(content="x")
    delete_message(broken_off.prompt)
    with pytest.raises(NotFound):
        continue_reply(broken_off)


def test_the_same_client_id_continues_once(broken_off, ended, fake_provider):
    first = continue_reply(broken_off, client_id="once")
    again = continue_reply(broken_off, client_id="once")
    ended(first)
    assert (first.created, again.created) == (True, False)
    assert again.reply.pk == first.reply.pk
    assert len(fake_provider.requests) == 2


def test_the_size_limit_is_that_of_the_whole_text(broken_off, ended, settings):
    settings.REPLY_MAX_BYTES = len(BEGINNING) + 4
    reply = ended(continue_reply(broken_off))
    assert (reply.status, reply.error_code) == (Reply.Status.INCOMPLETE, "length")
    assert reply.message.content == BEGINNING + REST[:4]
