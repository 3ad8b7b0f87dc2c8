"""Models that call tools: each step is stored, each call runs once, and what changes something waits for its person."""

from chats.llm.tests.fake_provider import Script
from chats.replies.tests.stage import Stage, calling, ended, path, waiting


def test_what_only_reads_runs_at_once_and_every_step_is_stored(stage: Stage) -> None:
    stage.model_does(
        calling(("fake__look_up", {"q": 1}), ("fake__look_up", {"q": 2}), text="Let me see."), Script(text="All found.")
    )
    started = stage.ask()
    reply = ended(started.reply)
    assert (reply.status, reply.steps) == ("completed", 1)
    _question, step, first, second, answer = path(started.chat)
    assert (step.content, [c["function"]["name"] for c in step.tool_calls]) == ("Let me see.", ["fake__look_up"] * 2)
    assert {first.content, second.content} == {"Found {'q': 1}", "Found {'q': 2}"}
    assert [m.role for m in (first, second)] == ["tool", "tool"]
    assert (answer.content, reply.message_id) == ("All found.", answer.pk)
    assert stage.mcp.calls == {"look_up": 2}
    said = stage.provider.requests[-1].body["messages"]
    assert [m["role"] for m in said] == ["system", "user", "assistant", "tool", "tool"]
    assert {m["tool_call_id"] for m in said[3:]} == {c["id"] for c in said[2]["tool_calls"]}
    assert reply.usage_records.count() == 2


def test_what_changes_something_waits_and_goes_on_when_it_is_approved(stage: Stage) -> None:
    stage.model_does(calling(("fake__send_mail", {"to": "a"})), Script(text="Mail is out."))
    started = stage.ask()
    (call,) = waiting(started.reply)
    assert stage.mcp.calls == {}
    assert started.reply.worker == ""
    stage.decide(call)
    assert (ended(started.reply).status, stage.mcp.calls) == ("completed", {"send_mail": 1})
    call.refresh_from_db()
    assert (call.status, call.decision, call.decided_by) == ("done", "once", stage.owner)
    assert path(started.chat)[-1].content == "Mail is out."
