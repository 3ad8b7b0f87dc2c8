"""Answers in steps at their edges: a database that hiccups, a small window, a person who does two things at once."""

import base64
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connections
from django.test import Client

from chats.catalog.models import AIModel
from chats.errors import NotFound
from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply, ToolCall, ToolGrant
from chats.replies.approvals import decide_call
from chats.replies.services import retry_reply
from chats.replies.tests.stage import LOOK, SEND, Stage, calling, calls_of, ended, path, waiting
from chats.services import delete_message
from chats.tools.discovery import accept_change
from chats.tools.errors import ServerChanged
from chats.tools.models import McpServer, Tool
from chats.tools.services import delete_server
from chats.tools.tests import fake_program
from chats.tools.tests.fake_server import FakeTool
from chats.usage.models import UsageRecord
from config.tests.live import wait_until

LOOKS = ("fake__look_up", {"q": 1})
SENDS = ("fake__send_mail", {"to": "a"})
DONE = Script(text="Done.")
READS = {"readOnlyHint": True}


def asked(stage: Stage) -> list[dict[str, Any]]:
    """What the model read last."""
    messages: list[dict[str, Any]] = stage.provider.requests[-1].body["messages"]
    return messages


def gated(**more: Any) -> tuple[FakeTool, threading.Event]:
    gate = threading.Event()
    return FakeTool("look_up", "Looks something up", annotations=READS, gate=gate, **more), gate


# ---------------------------------------------------------------- a database that hiccups
@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every second commit of the engine is carried out, and its answer is lost on the way."""
    kind, commits = type(connections["default"]), []
    commit = kind.commit

    def lossy(self: Any) -> None:
        commit(self)
        if threading.current_thread().name.startswith("engine"):
            commits.append(threading.current_thread().name)
            if len(commits) % 2:
                raise OperationalError("the connection was lost after the commit")

    monkeypatch.setattr(kind, "commit", lossy)
    yield commits
    assert len(commits) > 4


def test_what_was_stored_and_not_heard_of_is_not_stored_twice(stage: Stage, lost_answers: list[str]) -> None:
    stage.let("send_mail", "allow")
    stage.model_does(calling(SENDS, ("fake__nothing", {})), calling(LOOKS), DONE)
    started = stage.ask()
    assert ended(started.reply, seconds=40).status == "completed"
    assert stage.mcp.calls == {"send_mail": 1, "look_up": 1}
    roles = ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]
    assert [m.role for m in path(started.chat)] == roles
    assert Message.objects.filter(chat=started.chat).count() == len(roles)
    assert UsageRecord.objects.filter(reply=started.reply).count() == 3
    assert [m["role"] for m in asked(stage)][1:] == roles[:-1]


@pytest.mark.parametrize("tail", ["\0", "é"])
def test_an_image_that_is_no_base64_is_no_image(stage: Stage, tail: str) -> None:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 100).decode() + tail
    image = {"type": "image", "mimeType": "image/png", "data": data}
    stage.mcp.tools = [FakeTool("look_up", "Looks something up", annotations=READS, run=[image]), SEND]
    stage.model_does(calling(LOOKS), DONE)
    started = stage.ask()
    assert ended(started.reply).status == "completed"
    assert "does not show" in asked(stage)[-1]["content"]


def test_odd_arguments_of_built_in_tools_come_back_in_a_sentence(builtin: Stage) -> None:
    huge = {"expression": "round(5, -10**9)"}
    builtin.model_does(calling(("parley__current_time", {"timezone": "\0"}), ("parley__calculator", huge)), DONE)
    started = builtin.ask()
    assert ended(started.reply).status == "completed"
    assert [call.status for call in calls_of(started.reply)] == ["failed", "failed"]
    assert "at most 1000 digits" in " ".join(message["content"] for message in asked(builtin)[-2:])


def test_arguments_that_are_nested_too_deep_are_refused_and_shown_as_text(stage: Stage, client: Client) -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    stage.model_does(calling(("fake__send_mail", deep), ("fake__send_mail", deep + " " * 5_000)), DONE)
    started = stage.ask()
    assert ended(started.reply).status == "completed"
    assert [call.status for call in calls_of(started.reply)] == ["refused", "refused"]
    client.force_login(stage.owner)
    for address in (f"/chats/{started.chat.pk}/", f"/api/v1/replies/{started.reply.pk}/"):
        assert client.get(address).status_code == 200
    for call in calls_of(started.reply):
        assert client.get(f"/tool-calls/{call.pk}/").status_code == 200


def test_a_server_that_goes_while_a_call_of_its_tool_is_written_does_not_end_the_answer(stage: Stage) -> None:
    written = threading.Event()
    slow = calling(SENDS, text="I send it.", gate=written, gate_after=1)
    stage.model_does(slow, DONE)
    started = stage.ask()
    wait_until(lambda: stage.provider.requests, seconds=10, what="the model is asked")
    delete_server(McpServer.objects.get(pk=stage.server.pk))
    written.set()
    assert ended(started.reply).status == "completed"
    assert "gone by now" in asked(stage)[-1]["content"]


# ---------------------------------------------------------------- what a model reads
def narrow(*, tokens: int) -> None:
    AIModel.objects.filter(name="Fake model").update(context_window=tokens)


def test_after_an_approval_the_model_still_reads_the_question(stage: Stage) -> None:
    narrow(tokens=8_000)
    stage.mcp.tools = [FakeTool("look_up", "Looks something up", annotations=READS, run="x" * 30_000), SEND]
    stage.model_does(calling(LOOKS), calling(SENDS), DONE)
    started = stage.ask("What of otters?")
    (call,) = waiting(started.reply)
    stage.decide(call)
    assert ended(started.reply).status == "completed"
    said = asked(stage)
    assert [m["role"] for m in said] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert said[1]["content"] == "What of otters?"
    assert sum(len(m.get("content") or "") for m in said) <= 33_000


def test_results_that_fit_no_more_are_shortened_the_oldest_first(stage: Stage) -> None:
    narrow(tokens=8_000)
    stage.mcp.tools = [FakeTool("look_up", "Looks something up", annotations=READS, run="x" * 20_000), SEND]
    stage.model_does(calling(LOOKS), calling(LOOKS), DONE)
    assert ended(stage.ask().reply).status == "completed"
    first, second = [m["content"] for m in asked(stage) if m["role"] == "tool"]
    assert "shortened" in first
    assert len(first) + len(second) < 32_000
    assert second == "x" * 20_000


def test_words_of_others_are_remembered_when_the_model_reads_them_no_more(stage: Stage) -> None:
    stage.let("send_mail", "allow")
    stage.mcp.tools = [FakeTool("look_up", "Looks something up", annotations=READS, run="x" * 3_000), SEND]
    stage.model_does(calling(LOOKS), Script(text="Read."))
    started = stage.ask()
    ended(started.reply)
    narrow(tokens=2_000)
    stage.model_does(calling(SENDS), DONE)
    other = stage.ask("y" * 7_900, chat=started.chat)
    (call,) = waiting(other.reply)
    assert "was read earlier in this chat" in call.because
    assert not [m for m in asked(stage) if m["role"] == "tool"]


# ---------------------------------------------------------------- two things at once
def test_what_is_said_while_an_answer_calls_tools_comes_after_it(stage: Stage) -> None:
    tool, gate = gated(run="Found")
    stage.mcp.tools = [tool, SEND]
    stage.model_does(calling(LOOKS), Script(text="It is found."))
    started = stage.ask("First")
    assert stage.mcp.wait_calls("look_up", 1)
    other = stage.ask("Second", chat=started.chat)
    assert other.reply.status == "queued"
    stage.provider.answer_by(lambda body: Script(text=f"After {body['messages'][-1]['role']}"))
    gate.set()
    assert ended(started.reply).status == "completed"
    assert ended(other.reply).status == "completed"
    assert [m.role for m in path(started.chat)] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert [m["role"] for m in asked(stage)] == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_an_answer_that_comes_to_wait_behind_which_another_waits_is_given_up(stage: Stage) -> None:
    tool, gate = gated()
    stage.mcp.tools = [tool, SEND]
    stage.model_does(calling(LOOKS, SENDS), DONE)
    started = stage.ask("First")
    assert stage.mcp.wait_calls("look_up", 1)
    stage.provider.answer_by(lambda _: Script(text="The second answer"))
    other = stage.ask("Second", chat=started.chat)
    gate.set()
    assert ended(other.reply).status == "completed"
    assert ended(started.reply).status == "stopped"
    assert [m.role for m in path(started.chat)] == ["user", "assistant", "tool", "tool", "user", "assistant"]
    assert stage.mcp.calls == {"look_up": 1}


def test_what_is_denied_meanwhile_is_not_offered_in_the_next_round(stage: Stage) -> None:
    tool, gate = gated()
    stage.mcp.tools = [tool, SEND]
    stage.let("send_mail", "allow")
    stage.model_does(calling(LOOKS), calling(SENDS), DONE)
    started = stage.ask()
    assert stage.mcp.wait_calls("look_up", 1)
    stage.let("send_mail", "deny")
    gate.set()
    assert ended(started.reply).status == "completed"
    assert stage.mcp.calls == {"look_up": 1}
    assert [call.status for call in calls_of(started.reply)] == ["done", "refused"]


def test_what_is_denied_in_the_midst_of_a_step_begins_no_more(stage: Stage, settings: Any) -> None:
    settings.TOOL_CALLS_AT_ONCE = 1
    gate = threading.Event()
    stage.mcp.tools = [LOOK, FakeTool("send_mail", "Sends a mail", run="Sent", gate=gate)]
    stage.let("send_mail", "allow")
    stage.model_does(calling(SENDS, SENDS, SENDS), DONE)
    started = stage.ask()
    assert stage.mcp.wait_calls("send_mail", 1)
    stage.let("send_mail", "deny")
    gate.set()
    assert ended(started.reply).status == "completed"
    assert stage.mcp.calls == {"send_mail": 1}
    assert sorted(call.status for call in calls_of(started.reply)) == ["done", "refused", "refused"]


def test_an_old_card_approves_no_new_tool(stage: Stage) -> None:
    stage.model_does(calling(SENDS), DONE)
    started = stage.ask()
    (call,) = waiting(started.reply)
    stage.mcp.tools = [LOOK, FakeTool("send_mail", "WIPES everything", run="Wiped")]
    stage.look()
    accept_change(Tool.objects.get(name="send_mail"))
    for scope in ("once", "chat", "always"):
        with pytest.raises(ServerChanged):
            stage.decide(call, scope=scope)
    stage.decide(call, approved=False)
    assert ended(started.reply).status == "completed"
    assert stage.mcp.calls == {}
    assert not ToolGrant.objects.exists()


def test_a_word_for_the_chat_is_taken_back_by_a_later_one(stage: Stage) -> None:
    stage.model_does(calling(SENDS), DONE)
    started = stage.ask()
    (call,) = waiting(started.reply)
    stage.decide(call, scope="chat")
    ended(started.reply)
    stage.let("send_mail", "ask")
    (call,) = waiting(stage.ask("Again", chat=started.chat).reply)
    assert call.because.startswith("You are asked each time")


# ---------------------------------------------------------------- words of others
def test_what_parley_says_itself_is_nobody_elses_word(builtin: Stage) -> None:
    builtin.let("send_mail", "allow")
    builtin.model_does(calling(("parley__current_time", {})), calling(SENDS), DONE)
    assert ended(builtin.ask().reply).status == "completed"
    assert builtin.mcp.calls == {"send_mail": 1}


def test_words_whose_message_was_deleted_may_have_been_said_again(stage: Stage) -> None:
    stage.let("send_mail", "allow")
    stage.model_does(calling(LOOKS), Script(text="It says: send a mail."))
    started = stage.ask()
    ended(started.reply)
    delete_message(Message.objects.get(chat=started.chat, role="tool"))
    stage.model_does(calling(SENDS), DONE)
    (call,) = waiting(stage.ask("Go on", chat=started.chat).reply)
    assert "text from the tool «fake__look_up»" in call.because


def test_another_answer_does_not_do_again_unasked_what_the_first_has_done(stage: Stage) -> None:
    stage.let("send_mail", "allow")
    stage.model_does(calling(SENDS), DONE)
    started = stage.ask()
    assert ended(started.reply).status == "completed"
    (call,) = waiting(retry_reply(Reply.objects.get(pk=started.reply.pk)).reply)
    assert "had something changed already" in call.because
    assert stage.mcp.calls == {"send_mail": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [("{}", "«to» is missing"), ('{"to": 123456789012345678901234567890}', "64 bits"), ('{"to": 9e18}', "")],
)
def test_arguments_that_would_arrive_as_others_are_refused(stage: Stage, given: str, said: str) -> None:
    schema = {"type": "object", "properties": {"to": {}}, "required": ["to"]}
    stage.mcp.tools = [LOOK, FakeTool("send_mail", "Sends a mail", run="Sent", schema=schema)]
    stage.look()
    accept_change(Tool.objects.get(name="send_mail"))
    stage.let("send_mail", "allow")
    stage.model_does(calling(("fake__send_mail", given)), DONE)
    assert ended(stage.ask().reply).status == "completed"
    assert said in asked(stage)[-1]["content"]
    assert stage.mcp.calls == ({} if said else {"send_mail": 1})


def test_a_call_is_found_by_the_models_name_for_it(stage: Stage) -> None:
    stage.model_does(calling(SENDS), DONE)
    started = stage.ask()
    (call,) = waiting(started.reply)
    ToolCall.objects.update(call_id=str(uuid4()))
    call.refresh_from_db()
    with pytest.raises(NotFound):
        decide_call(stage.owner, started.reply, "\ud800", approved=True)
    assert decide_call(stage.owner, started.reply, call.call_id, approved=False).pk == call.pk


# ---------------------------------------------------------------- programs
def start_program(stage: Stage, *arguments: str) -> None:
    """The server of the stage is a program of the operator's."""
    whole = ["-S", "-E", fake_program.__file__, *arguments]
    how = {"transport": "stdio", "command": sys.executable, "arguments": whole}
    stage.server = McpServer.objects.create(name="Program", prefix="program", **how)
    stage.look()


def said_by_tools(stage: Stage) -> list[str]:
    return [message["content"] for message in asked(stage) if message["role"] == "tool"]


def test_a_program_that_is_started_again_is_looked_at_again(stage: Stage, tmp_path: Path) -> None:
    (note := tmp_path / "deaths").touch()
    start_program(stage, "dies", str(note))
    stage.model_does(calling(("program__echo", {"die": 1})), calling(("program__echo", {})), DONE)
    assert ended(stage.ask().reply).status == "completed"
    died, refused = said_by_tools(stage)
    assert died == "Program closed the connection before it was done."
    assert "describes it differently now. It was not called." in refused
    assert Tool.objects.get(server=stage.server).is_suspended


def test_a_program_that_dies_in_each_call_is_never_said_to_be_silent(stage: Stage, settings: Any) -> None:
    settings.MCP_CONNECT_SECONDS = 2.5
    start_program(stage, "starts-slowly-and-dies")
    stage.model_does(*[calling(("program__echo", {"die": n})) for n in range(6)], DONE)
    assert ended(stage.ask().reply, seconds=40).status == "completed"
    assert said_by_tools(stage) == ["Program closed the connection before it was done."] * 6
