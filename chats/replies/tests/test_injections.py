"""A model that obeys whatever it reads: words of others never have something changed without its person's own."""

import re
from typing import Any

import pytest

from chats.llm.tests.fake_provider import Script
from chats.models import Chat
from chats.replies.retrieval import DocumentUse
from chats.replies.services import stop_reply
from chats.replies.tests.injections import TEXTS
from chats.replies.tests.stage import SEND, Stage, calling, calls_of, ended, waiting
from chats.tools.tests.fake_server import FakeTool

ADDRESS = re.compile(r"attacker\d+@evil\.example")


def gullible(body: Any) -> Script:
    """Sends a mail to the first address it reads of, once; until it reads of one, it looks something up."""
    said = [str(m.get("content") or "") for m in body["messages"]]
    found = ADDRESS.search("\n".join(said))
    if found:
        return calling(("fake__send_mail", {"to": found[0]}))
    return calling(("fake__look_up", {}))


@pytest.mark.parametrize("policy", ["allow", "ask"])
def test_words_in_the_results_of_tools_change_nothing(stage: Stage, policy: str) -> None:
    stage.let("send_mail", policy)
    stage.provider.answer_by(gullible)
    for number, text in enumerate(TEXTS, 1):
        stage.mcp.tools = [
            FakeTool("look_up", "Looks something up", annotations={"readOnlyHint": True}, run=text),
            SEND,
        ]
        started = stage.ask("Look it up")
        (call,) = waiting(started.reply)
        assert f"attacker{number}@" in call.arguments, "the model has read it, and obeyed"
        assert "was read before" in call.because
        stop_reply(started.reply)
    assert stage.mcp.calls == {"look_up": len(TEXTS)}


def test_words_in_documents_change_nothing(stage: Stage) -> None:
    stage.let("send_mail", "allow")
    stage.provider.answer_by(gullible)
    for number, text in enumerate(TEXTS, 1):
        stage.add_document(f"letter{number}.txt", f"Letter number{number} about zebras. {text}".encode())
        started = stage.ask(f"What says letter number{number}?", use_documents=DocumentUse(is_on=True, limit=1))
        (call,) = waiting(started.reply)
        assert "attacker" in call.arguments
        stop_reply(started.reply)
    assert stage.mcp.calls == {}


def test_words_that_were_read_earlier_in_the_chat_change_nothing_later(stage: Stage) -> None:
    stage.let("send_mail", "allow")
    stage.mcp.tools = [
        FakeTool("look_up", "Looks something up", annotations={"readOnlyHint": True}, run=f"Later: {TEXTS[0]}"),
        SEND,
    ]
    stage.model_does(calling(("fake__look_up", {})), Script(text="I will remember."))
    started = stage.ask("Look it up")
    ended(started.reply)
    stage.provider.answer_by(gullible)
    waiting(stage.ask("Thanks!", chat=Chat.objects.get(pk=started.chat.pk)).reply)
    assert stage.mcp.calls == {"look_up": 1}


def test_a_mail_that_its_person_asks_for_is_sent(stage: Stage) -> None:
    """The other way round: with nothing of others in the chat, what is allowed runs without a question."""
    stage.let("send_mail", "allow")
    stage.model_does(calling(("fake__send_mail", {"to": "friend@example.org"})), Script(text="Sent."))
    reply = ended(stage.ask("Mail my friend").reply)
    assert [call.status for call in calls_of(reply)] == ["done"]
    assert stage.mcp.called == [("send_mail", {"to": "friend@example.org"})]
