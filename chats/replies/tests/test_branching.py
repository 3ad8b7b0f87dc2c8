"""Saying it differently, and having it answered again: a new branch each time, and the old one stays."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from chats import branches, services
from chats.errors import Conflict, Invalid, ModelUnavailable, NotFound, ReplyRunning
from chats.llm.tests.fake_provider import Script
from chats.models import Message
from chats.replies.services import edit_message, regenerate_message, start_reply
from config.tests.live import wait_until


def path(chat):
    chat.refresh_from_db()
    return [(message.role, message.content) for message in Message.objects.path_to(chat.current_leaf_id)]


def test_an_edit_is_a_sibling_with_an_answer_of_its_own(say, ended, owner, fake_provider):
    ended(say("One"))
    first = say("Two", chat_id=Message.objects.get(content="One").chat_id)
    ended(first)
    edited = edit_message(owner, first.message, content="Three")
    ended(edited)

    assert edited.created
    assert edited.message.parent_id == first.message.parent_id
    assert path(first.chat) == [
        ("user", "One"),
        ("assistant", "Echo: One"),
        ("user", "Three"),
        ("assistant", "Echo: Three"),
    ]
    said = [message["content"] for message in fake_provider.requests[-1].body["messages"]]
    assert said == ["One", "Echo: One", "Three"], "the model reads the new branch alone"
    assert Message.objects.filter(content__in=["Two", "Echo: Two"]).count() == 2

    services.update_chat(first.chat, current_leaf=first.message.pk)
    assert path(first.chat)[-1] == ("assistant", "Echo: Two")


def test_the_first_message_can_be_edited_too(say, ended, owner):
    first = say("One")
    ended(first)
    edited = edit_message(owner, first.message, content="Two")
    ended(edited)
    assert edited.message.parent_id is None
    assert path(first.chat) == [("user", "Two"), ("assistant", "Echo: Two")]


def test_only_what_a_person_said_is_edited_and_not_into_nothing(say, ended, owner):
    first = say("One")
    ended(first)
    for message, content in [(first.answer, "Two"), (first.message, "  \n")]:
        with pytest.raises(Invalid):
            edit_message(owner, message, content=content)
    with pytest.raises(ModelUnavailable):
        edit_message(owner, first.message, content="Two", model="no such model")
    services.delete_message(first.message)
    with pytest.raises(NotFound):
        edit_message(owner, first.message, content="Two")
    assert Message.objects.count() == 1


@pytest.mark.parametrize("verb", ["edit", "regenerate"])
def test_a_repeated_client_id_makes_one_branch(say, ended, owner, fake_provider, verb):
    first = say("One")
    ended(first)

    def write(client_id, *, other=False):
        if verb == "edit":
            return edit_message(owner, first.message, content="Three" if other else "Two", client_id=client_id)
        return regenerate_message(owner, first.answer, model="fake-1" if other else None, client_id=client_id)

    made = write("once")
    again = write("once")
    ended(made)
    assert (made.created, again.created) == (True, False)
    assert (again.reply.pk, again.message.pk, again.answer.pk) == (made.reply.pk, made.message.pk, made.answer.pk)
    assert len(fake_provider.requests) == 2
    with pytest.raises(Conflict):
        write("once", other=True)


def test_an_answer_is_given_again_beside_the_first_by_whichever_model(say, ended, owner, demo_model):
    first = say("One")
    ended(first)
    again = regenerate_message(owner, first.answer, model=demo_model.name)
    reply = ended(again)
    assert again.message == first.message
    assert again.answer.parent_id == first.message.pk
    assert reply.model == demo_model
    assert path(first.chat)[-1][1] == reply.message.content != "Echo: One"


def test_an_answer_a_program_wrote_is_given_again_from_what_was_asked_above_it(live, ended, owner, openai_model):
    chat = services.create_chat(owner, model=openai_model)
    question = services.append_message(chat, role="user", content="What is six by seven?")
    services.append_message(chat, role="assistant", content="", tool_calls=[{"id": "1"}])
    services.append_message(chat, role="tool", content="42")
    answer = services.append_message(chat, role="assistant", content="42")
    again = regenerate_message(owner, answer)
    ended(again)
    assert again.message == question
    assert path(chat) == [("user", "What is six by seven?"), ("assistant", "Echo: What is six by seven?")]


def test_what_is_no_answer_is_not_given_again(owner, demo_model):
    chat = services.create_chat(owner)
    greeting = services.append_message(chat, role="assistant", content="Welcome")
    question = services.append_message(chat, role="user", content="Hi")
    for message in (greeting, question):
        with pytest.raises(Invalid):
            regenerate_message(owner, message)


def test_an_answer_is_not_given_again_while_it_is_written(owner, demo_model):
    started = start_reply(owner, content="One")
    with pytest.raises(ReplyRunning):
        regenerate_message(owner, started.answer)


def test_a_chat_is_not_forked_in_mid_answer(say, ended, owner, fake_provider):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="one two three", gate=gate, gate_after=1))
    asked = say("Count")
    wait_until(lambda: Message.objects.get(pk=asked.answer.pk).content, seconds=5, what="a part is stored")
    below = services.append_message(asked.chat, role="user", content="Below it")
    for message in (asked.answer, below):
        with pytest.raises(ReplyRunning):
            branches.fork_chat(owner, message)
    assert branches.fork_chat(owner, asked.message)[0].messages.count() == 1, "what stands above it can be taken"
    gate.set()
    ended(asked)
    fork, _ = branches.fork_chat(owner, asked.answer)
    assert path(fork) == [("user", "Count"), ("assistant", "one two three")]


HANDS = 8


def test_edits_with_one_client_id_at_the_same_instant_make_one_branch(say, ended, owner):
    first = say("One")

    def edit(_):
        try:
            return edit_message(owner, first.message, content="Two", client_id="once")
        finally:
            connection.close()

    with ThreadPoolExecutor(HANDS) as threads:
        made = list(threads.map(edit, range(HANDS)))
    assert len({started.reply.pk for started in made}) == 1
    ended(made[0])
    assert Message.objects.filter(content="Two").count() == 1
