"""What a model is told of a chat that is longer than it can read, and of what programs wrote into it."""

import pytest

from chats.models import Message
from chats.replies.services import retry_reply, start_reply
from chats.services import append_message, create_chat

CUT = "This chat is too long to be read at once; its oldest messages were left out."


@pytest.fixture
def long_chat(live, owner, openai_model):
    chat = create_chat(owner, model=openai_model)
    for number in range(10):
        for role in (Message.Role.USER, Message.Role.ASSISTANT):
            append_message(chat, role=role, content=f"{role} {number} ".ljust(100, "."))
    return chat


def test_the_oldest_messages_are_left_out_and_the_answer_says_so(long_chat, owner, ended, fake_provider, settings):
    settings.PROMPT_MAX_CHARACTERS = 520
    started = start_reply(owner, chat_id=long_chat.pk, content="And now?")
    reply = ended(started)
    told = fake_provider.requests[-1].body["messages"]
    # The question, and of the five that fit those from the first that a person said.
    assert [message["content"].rstrip(".") for message in told] == [
        "user 8 ",
        "assistant 8 ",
        "user 9 ",
        "assistant 9 ",
        "And now?",
    ]
    assert reply.message.notice == CUT
    ended(retry_reply(reply))
    assert fake_provider.requests[-1].body["messages"] == told


def test_a_small_context_window_is_the_limit(long_chat, owner, ended, fake_provider, openai_model):
    openai_model.context_window = 60  # tokens
    openai_model.save(update_fields=["context_window"])
    reply = ended(start_reply(owner, chat_id=long_chat.pk, content="And now?"))
    assert len(fake_provider.requests[-1].body["messages"]) == 3
    assert reply.message.notice == CUT


def test_a_chat_that_fits_is_told_whole(long_chat, owner, ended, fake_provider):
    reply = ended(start_reply(owner, chat_id=long_chat.pk, content="And now?"))
    assert len(fake_provider.requests[-1].body["messages"]) == 21
    assert reply.message.notice == ""


@pytest.mark.usefixtures("live")
def test_tool_calls_that_no_provider_would_take_are_left_out(owner, openai_model, ended, fake_provider, api_of):
    chat = create_chat(owner, model=openai_model)
    body = {"chat": str(chat.pk), "role": "assistant", "content": "Hm.", "tool_calls": [{"id": {}}, {"id": None}]}
    assert api_of(owner).post("/api/v1/messages/", body, format="json").status_code == 201
    assert ended(start_reply(owner, chat_id=chat.pk, content="And now?")).status == "completed"
    assert [message["content"] for message in fake_provider.requests[-1].body["messages"]] == ["Hm.", "And now?"]
