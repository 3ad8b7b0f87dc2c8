import threading

from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply
from chats.replies.services import stop_reply
from chats.services import delete_chat, delete_message
from chats.usage.models import UsageRecord
from config.tests.live import wait_until

WORDS = [f" word{i}" for i in range(50)]


def _running(say, fake_provider):
    """A reply in the middle of its text: ten words are out, and the provider holds the rest back."""
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=threading.Event(), gate_after=10))
    started = say()
    wait_until(
        lambda: Message.objects.get(pk=started.answer.pk).content == "".join(WORDS[:10]),
        seconds=5,
        what="ten words are stored",
    )
    return started


def test_stop_closes_the_providers_connection_and_keeps_the_text(say, ended, fake_provider):
    started = _running(say, fake_provider)

    # How long it takes is measured by `make chaos`.
    stop_reply(started.reply)
    assert fake_provider.wait_closed(1, timeout=5)

    reply = ended(started)
    assert reply.status == Reply.Status.STOPPED
    assert reply.message.content == "".join(WORDS[:10])


def test_the_part_of_a_stopped_reply_is_booked_as_an_estimate(say, ended, fake_provider):
    started = _running(say, fake_provider)
    stop_reply(started.reply)
    ended(started)

    record = UsageRecord.objects.get(reply=started.reply)
    assert record.is_estimated
    assert record.output_tokens > 0
    assert record.input_tokens > 0
    assert record.cost > 0


def test_stop_may_be_repeated_and_is_final(say, ended, fake_provider):
    started = _running(say, fake_provider)
    for _ in range(3):
        stop_reply(started.reply)
    finished_at = ended(started).finished_at

    assert stop_reply(started.reply).status == Reply.Status.STOPPED
    assert Reply.objects.get(pk=started.reply.pk).finished_at == finished_at


def test_stop_before_the_first_token_ends_the_request_and_books_nothing(say, ended, fake_provider):
    fake_provider.script("fake-1", Script(hang=True))
    started = say()
    assert fake_provider.wait_requests(1)

    stop_reply(started.reply)
    assert fake_provider.wait_closed(1, timeout=5)
    assert ended(started).status == Reply.Status.STOPPED
    assert not UsageRecord.objects.exists()


def test_a_reply_that_waits_its_turn_is_stopped_without_asking_the_provider(say, ended, fake_provider):
    first = _running(say, fake_provider)
    second = say("And another", chat_id=first.chat.pk)

    stop_reply(second.reply)
    assert ended(second).status == Reply.Status.STOPPED
    assert len(fake_provider.requests) == 1
    stop_reply(first.reply)
    ended(first)


def test_deleting_the_chat_ends_its_reply(say, ended, fake_provider):
    started = _running(say, fake_provider)
    delete_chat(started.chat)
    assert fake_provider.wait_closed(1, timeout=5)
    assert ended(started).status == Reply.Status.STOPPED


def test_deleting_the_message_being_written_ends_its_reply(say, ended, fake_provider):
    started = _running(say, fake_provider)
    delete_message(started.answer)
    assert fake_provider.wait_closed(1, timeout=5)
    assert ended(started).status == Reply.Status.STOPPED
    assert not Message.objects.filter(pk=started.answer.pk).exists()


def test_the_running_reply_of_a_person_who_is_shut_out_ends(say, ended, fake_provider, owner):
    started = _running(say, fake_provider)
    owner.is_active = False
    owner.save()
    assert fake_provider.wait_closed(1, timeout=5)
    assert ended(started).status == Reply.Status.STOPPED


def test_a_stop_nobody_rang_for_is_heeded_all_the_same(say, ended, fake_provider):
    started = _running(say, fake_provider)
    Reply.objects.filter(pk=started.reply.pk).update(stop_requested_at="2026-01-01T00:00:00Z")
    assert fake_provider.wait_closed(1, timeout=5)
    assert ended(started).status == Reply.Status.STOPPED
