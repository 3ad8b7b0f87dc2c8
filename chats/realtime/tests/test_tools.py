"""Calls of tools as a socket sees them: told, asked about, decided on, and the same from every number on."""

from collections import Counter
from typing import Any

import requests

from accounts.services import create_api_key
from chats.llm.tests.fake_provider import Script
from chats.replies.tests.stage import Stage, calling, waiting
from chats.services import create_chat
from config.tests.sockets import text_of
from config.tests.threads import in_thread

STEPS = (
    calling(("fake__look_up", {"q": 1}), text="Let me look."),
    calling(("fake__send_mail", {"to": "a"}), ("fake__send_mail", {"to": "b"}), text="Now I send."),
    Script(text="Both are done, more or less."),
)


async def test_calls_are_told_and_decided_on_over_a_socket(stage: Stage, open_socket: Any) -> None:
    stage.model_does(*STEPS)
    chat = await in_thread(create_chat, stage.owner)
    async with await open_socket(stage.owner, chat) as socket:
        await socket.send("message.send", content="Go", model="Fake model")
        events = await socket.receive_until("tool.approval_requested")
        events += await socket.receive_until("tool.approval_requested")
        first, second = [event for event in events if event["type"] == "tool.approval_requested"]
        assert (first["name"], first["arguments"], first["status"]) == ("fake__send_mail", {"to": "a"}, "waiting")
        assert first["because"].startswith("You are asked each time this tool is called, and text from the tool")
        decision = {"reply": first["reply"], "call": first["call"], "approved": True}
        for wrong in ({"call": 5}, {"approved": "yes"}, {"scope": "for ever"}, {"reply": "x"}, {"call": "nothing"}):
            await socket.send("tool.decide", **{**decision, **wrong})
            error = (await socket.receive_until("error"))[-1]
            assert error["error"]["code"] in {"invalid", "not_found"}
            assert error["reply"] == wrong.get("reply", first["reply"])
            assert error.get("call") == (None if wrong.get("call") == 5 else wrong.get("call", first["call"]))
        await socket.send("tool.decide", **decision)
        await socket.send("tool.decide", **{**decision, "call": second["call"], "approved": False, "reason": "Not b"})
        events += await socket.receive_until("reply.finished")
    told = [event for event in events if event.get("reply") == first["reply"] and "seq" in event]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert Counter(event["type"] for event in told if event["type"].startswith("tool.")) == {
        "tool.called": 3,
        "tool.approval_requested": 2,
        "tool.started": 2,
        "tool.finished": 3,
    }
    assert text_of(told) == "Both are done, more or less."
    assert told[-1]["status"] == "completed"
    assert stage.mcp.called == [("look_up", {"q": 1}), ("send_mail", {"to": "a"})]


async def test_from_every_number_on_the_rest_makes_the_saved_message(stage: Stage, open_socket: Any) -> None:
    stage.model_does(*STEPS)
    started = await in_thread(stage.ask)
    async with await open_socket(stage.owner, started.chat) as socket:
        await socket.send("reply.follow", reply=str(started.reply.pk))
        for call in await in_thread(waiting, started.reply):
            await in_thread(stage.decide, call)
        events = [event for event in await socket.receive_until("reply.finished") if "seq" in event]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        for seen in range(len(events)):
            await socket.send("reply.follow", reply=str(started.reply.pk), after=seen)
            rest = [event for event in await socket.receive_until("reply.finished") if "seq" in event]
            assert text_of(events[:seen] + rest) == events[-1]["message"]["content"] == "Both are done, more or less."


async def test_who_comes_while_it_waits_hears_what_for(stage: Stage, open_socket: Any) -> None:
    stage.model_does(*STEPS[1:])
    started = await in_thread(stage.ask)
    calls = await in_thread(waiting, started.reply)
    async with await open_socket(stage.owner, started.chat) as socket:
        await socket.send("reply.follow", reply=str(started.reply.pk))
        heard = [event for _ in calls for event in await socket.receive_until("tool.approval_requested")]
        # After the snapshot of its row, or after all that its log has, as long as that is there.
        told = [event["call"] for event in heard if event["type"] == "tool.approval_requested"]
        assert told == [str(call.pk) for call in calls]
        for call in calls:
            await in_thread(stage.decide, call)
        assert (await socket.receive_until("reply.finished"))[-1]["status"] == "completed"


def test_a_program_that_waits_for_the_answer_hears_that_it_is_to_decide(stage: Stage, live: Any) -> None:
    stage.model_does(*STEPS[1:])
    headers = {"Authorization": f"Bearer {create_api_key(stage.owner, name='x')[1]}"}
    body = {"message": "Go", "model": "Fake model", "client_id": "one"}
    for _ in range(2):
        answer = requests.post(f"{live.base_url}/api/v1/chat/", json=body, headers=headers, timeout=20)
        assert answer.status_code == 202
        assert answer.json()["reply"]["calls"][0]["status"] == "waiting"


async def test_whose_tools_are_used_is_said_with_a_message(stage: Stage, open_socket: Any) -> None:
    stage.model_does(Script(text="Done."))
    chat = await in_thread(create_chat, stage.owner)
    async with await open_socket(stage.owner, chat) as socket:
        for wrong in ("all", {"servers": "x"}, {"servers": [str(chat.pk)]}, 5):
            await socket.send("message.send", content="Go", tools=wrong)
            assert "tools" in (await socket.receive_until("error"))[-1]["error"]["fields"]
        for tools, offered in (({"servers": []}, 0), (None, 2), ({"servers": [str(stage.server.pk)]}, 2)):
            await socket.send("message.send", content="Go", model="Fake model", tools=tools)
            await socket.receive_until("reply.finished")
            assert len(stage.provider.requests[-1].body.get("tools", [])) == offered
        await socket.send("message.send", content="And on", model="Fake model")
        await socket.receive_until("reply.finished")
    await in_thread(chat.refresh_from_db)
    assert chat.tools == {"servers": [str(stage.server.pk)]}
