"""Answers of several steps, written into the rows as the engine leaves them."""

from typing import Any

from django.utils import timezone

from chats.models import Chat, Message, Reply, ToolCall
from chats.replies.services import StartedReply
from chats.replies.toolbox import ASKED_EACH_TIME

TAINT = "You allowed this tool, but text from the tool «web» was read before, and may have asked for it."
STARTED, FINISHED = "2026-05-01T10:00:00Z", "2026-05-01T10:00:02.4Z"


def take_step(started: StartedReply, *calls: dict[str, Any], text: str = "") -> list[ToolCall]:
    """The model says `text` and asks for these calls, each fields of a ToolCall, and `result` for the model."""
    reply = Reply.objects.get(pk=started.reply.pk)
    message = reply.message
    assert message is not None
    reply.steps += 1
    rows, tip = [], message
    for index, fields in enumerate(calls):
        given = {"name": "fake__look_up", "title": "Look up", "server_name": "Fake", "arguments": '{"q": 1}', **fields}
        result, status = given.pop("result", "Found"), given.setdefault("status", "done")
        if status == "waiting":
            given.setdefault("because", ASKED_EACH_TIME)
        if status not in ToolCall.UNSETTLED:
            given = {"started_at": STARTED, "finished_at": FINISHED, **given}
            given["result_message"] = tip = _add(reply, tip, role="tool", content=result)
        place = {"reply": reply, "message": message, "step": reply.steps, "index": index}
        rows.append(ToolCall.objects.create(call_id=f"c{index}", **place, **given))
    message.content, message.tool_calls = text, [{"function": {"name": row.name}} for row in rows]
    message.save()
    is_waiting = any(row.status == "waiting" for row in rows)
    reply.status = Reply.Status.WAITING if is_waiting else Reply.Status.RUNNING
    reply.message = message if tip == message or is_waiting else _add(reply, tip, role="assistant")
    reply.save()
    return rows


def end(started: StartedReply, text: str = "", *, status: str = "completed") -> Message:
    """The answer is over with this text, in the message that was last begun."""
    reply = Reply.objects.get(pk=started.reply.pk)
    assert reply.message is not None
    Message.objects.filter(pk=reply.message_id).update(content=text)
    Reply.objects.filter(pk=reply.pk).update(status=status, finished_at=timezone.now())
    return reply.message


def _add(reply: Reply, parent: Message, **fields: Any) -> Message:
    message = Message.objects.create(chat_id=reply.chat_id, reply=reply, parent=parent, model=reply.model, **fields)
    Chat.objects.filter(pk=reply.chat_id).update(current_leaf=message)
    return message
