from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from chats import doorbell
from chats.branches import fork_chat
from chats.errors import Conflict, Invalid, ModelUnavailable, NotFound, TooLarge, TooMany
from chats.llm.tests.fake_provider import Script
from chats.models import Chat, Message, Reply
from chats.replies.services import continue_reply, edit_message, regenerate_message, retry_reply, start_reply
from chats.services import append_message, create_chat, create_chat_once, delete_chat, restore_chat
from config.tests.live import wait_until


def test_the_same_client_id_gives_the_same_answer_and_one_request(say, ended, fake_provider):
    first = say("Hello", client_id="once")
    again = say("Hello", client_id="once")
    ended(first)

    assert first.created
    assert not again.created
    assert (again.reply.pk, again.message.pk, again.answer.pk) == (first.reply.pk, first.message.pk, first.answer.pk)
    assert Message.objects.count() == 2
    assert len(fake_provider.requests) == 1


def test_sends_with_one_client_id_at_the_same_instant_make_one_message(say, ended, fake_provider, owner):
    chat = create_chat(owner)

    def send(_):
        try:
            return say("Hello", chat_id=chat.pk, client_id="once")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        replies = {started.reply.pk for started in threads.map(send, range(8))}

    assert len(replies) == 1
    ended(say("Hello", chat_id=chat.pk, client_id="once"))
    assert Message.objects.count() == 2
    assert len(fake_provider.requests) == 1


def test_a_reply_that_is_called_out_many_times_at_once_is_taken_up_once(say, ended, fake_provider, caplog):
    started = say("Hello")
    first = ended(started)
    empty = append_message(started.chat, role="assistant", content="", parent=started.message)
    waiting = Reply.objects.create(
        chat=started.chat, user=first.user, prompt=started.message, message=empty, model=first.model
    )
    for _ in range(50):
        doorbell.deliver("waiting", str(waiting.pk))
    wait_until(lambda: not Reply.objects.unfinished().exists(), seconds=10, what="the reply is over")
    assert len(fake_provider.requests) == 2
    assert "background_task_failed" not in caplog.text


def test_another_body_under_the_same_client_id_is_a_conflict(say, ended):
    first = say("Hello", client_id="once")
    with pytest.raises(Conflict):
        say("Goodbye", client_id="once")
    with pytest.raises(Conflict):
        say("Hello", client_id="once", chat_id=first.chat.pk)
    ended(first)
    assert Message.objects.count() == 2


def test_a_client_id_belongs_to_its_person(say, ended, stranger):
    mine = say("Hello", client_id="once")
    theirs = start_reply(stranger, content="Hello", client_id="once")
    assert theirs.created
    assert theirs.chat.pk != mine.chat.pk
    ended(mine)
    ended(theirs)


def test_retrying_with_one_client_id_makes_one_answer(say, ended, fake_provider):
    first = say("Hello")
    ended(first)
    again = retry_reply(first.reply, client_id="r1")
    same = retry_reply(first.reply, client_id="r1")
    ended(again)
    assert same.reply.pk == again.reply.pk
    assert len(fake_provider.requests) == 2


def test_under_another_verb_a_client_id_is_another_one(say, ended, owner, fake_provider):
    fake_provider.script("fake-1", Script(text="Half", finish_reason=None, has_done=False))
    first = say("Hello")
    reply = ended(first)
    verbs = [
        lambda: say("Hello", chat_id=first.chat.pk, client_id="once"),
        lambda: edit_message(owner, first.message, content="Hello", client_id="once"),
        lambda: regenerate_message(owner, first.answer, client_id="once"),
        lambda: continue_reply(reply, client_id="once"),
        lambda: create_chat_once(owner, client_id="once"),
        lambda: fork_chat(owner, first.message, client_id="once"),
    ]
    made = [verb() for verb in verbs]
    for started in made[:4]:
        assert started.created
        ended(started)
    assert [is_new for _, is_new in made[4:]] == [True, True]
    again = [verb() for verb in verbs]
    assert [started.reply for started in again[:4]] == [started.reply for started in made[:4]]
    assert again[4:] == [(chat, False) for chat, _ in made[4:]]
    assert len({started.reply.pk for started in made[:4]}) == 4


def test_to_answer_again_is_one_operation_whether_the_reply_or_its_message_is_named(say, ended, owner, client_of):
    first = say("Hello")
    ended(first)
    again = retry_reply(first.reply, client_id="once")
    ended(again)
    assert regenerate_message(owner, first.answer, client_id="once").reply == again.reply
    page = client_of(owner)
    for path in (f"/messages/{first.answer.pk}/again/", f"/replies/{first.reply.pk}/retry/"):
        assert page.post(path, {"client_id": "once"}).status_code == 302
    with pytest.raises(Conflict):
        regenerate_message(owner, first.answer, model="fake-1", client_id="once")
    assert Message.objects.filter(parent=first.message).count() == 2


def test_what_a_version_without_verbs_has_stored_is_known_again(say, ended, owner, fake_provider):
    first = say("Hello", client_id="once")
    edited = edit_message(owner, first.message, content="Bye", client_id="twice")
    for started in (first, edited):
        ended(started)
    Reply.objects.update(request_verb="send")
    assert say("Hello", client_id="once").reply == first.reply
    assert edit_message(owner, first.message, content="Bye", client_id="twice").reply == edited.reply


@pytest.mark.parametrize("client_id", ["", "x" * 65, "tab\tbed", "nul\0"])
def test_an_unusable_client_id_is_refused(owner, demo_model, client_id):
    with pytest.raises(Invalid):
        start_reply(owner, content="Hello", client_id=client_id)
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"content": "   \n"}, Invalid),
        ({"content": "x" * 100_001}, TooLarge),
        ({"content": "Hi", "model": "no such model"}, ModelUnavailable),
    ],
)
def test_what_is_refused_leaves_nothing_behind(owner, demo_model, options, error):
    with pytest.raises(error):
        start_reply(owner, **options)
    assert not Chat.objects.exists()
    assert not Reply.objects.exists()


def test_a_repeated_send_to_a_chat_that_was_deleted_finds_nothing_until_it_is_back(owner, demo_model):
    chat = create_chat(owner)
    first = start_reply(owner, chat_id=chat.pk, content="Hi", client_id="once")
    delete_chat(chat)
    with pytest.raises(NotFound):
        start_reply(owner, chat_id=chat.pk, content="Hi", client_id="once")
    restore_chat(owner, chat.pk)
    assert start_reply(owner, chat_id=chat.pk, content="Hi", client_id="once").reply == first.reply


def test_a_deleted_chat_takes_no_message(owner, demo_model):
    chat = create_chat(owner)
    delete_chat(chat)
    with pytest.raises(NotFound):
        start_reply(owner, chat_id=chat.pk, content="Hi")


def test_sends_and_running_replies_are_limited(owner, demo_model, settings):
    settings.RUNNING_REPLIES_PER_USER = 2
    start_reply(owner, content="One")
    start_reply(owner, content="Two")
    with pytest.raises(TooMany):
        start_reply(owner, content="Three")

    settings.RUNNING_REPLIES_PER_USER = 10
    settings.SENDS_PER_MINUTE_PER_USER = 3
    with pytest.raises(TooMany):
        start_reply(owner, content="Four")


def test_a_running_reply_is_not_retried(owner, demo_model):
    started = start_reply(owner, content="One")
    with pytest.raises(Conflict):
        retry_reply(started.reply)
