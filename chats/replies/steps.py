"""From one step of an agent to the next, in the rows: calls that were asked for, the wait for approval, a new message.

Sync functions; async code awaits them through `in_database`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from chats import doorbell
from chats.llm.values import ChatRequest
from chats.models import Chat, Message, Reply, ToolCall
from chats.replies.calls import Result, calls_of_step, grow, results_of_step, settle, sources_of
from chats.replies.endings import book
from chats.replies.lease import Ending, Job
from chats.replies.prompt import as_asked, fitted, room_of
from chats.replies.taint import taint_of
from chats.replies.toolbox import WITHDRAWN, arguments_of
from chats.tools.models import Tool
from chats.usage.models import UsageRecord

NAME_MAX_CHARACTERS = 64
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class TooDear(Exception):
    """The reply has cost as much as it may."""


def store_step(job: Job, ending: Ending, calls: Sequence[ToolCall], refusals: Mapping[int, str]) -> bool:
    """Store what a model said and which calls it asked for, and book it, before any of them begins.

    `refusals` by the place of a call: why it is not run. False: the reply is no longer ours. Done twice it is as once.
    """
    reply, message, now = job.reply, job.message, timezone.now()
    asked = [_as_asked(call) for call in calls]
    with transaction.atomic():
        chat = Chat.objects.locked().filter(pk=reply.chat_id).first()
        steps = reply.steps + 1
        changes = {"snapshot_seq": ending.seq, "steps": steps, "first_token_at": ending.first_token_at}
        if chat is None or not job.held.update(**changes, **(job.writer if ending.names_writer else {})):
            return False
        said = {"content": ending.text, "reasoning": ending.reasoning, "tool_calls": asked, "updated_at": now}
        if ending.names_writer:
            said |= {"model": job.model, "notice": job.notice}
        if not Message.objects.filter(pk=message.pk).update(**said):
            return False
        if not ToolCall.objects.filter(pk=calls[0].pk).exists():
            book(job, ending, message)
            _insert_calls(chat, reply, message, calls, refusals)
    for row, values in ((reply, changes), (message, said)):
        for name, value in values.items():
            setattr(row, name, value)
    return True


def _insert_calls(
    chat: Chat, reply: Reply, message: Message, calls: Sequence[ToolCall], refusals: Mapping[int, str]
) -> None:
    # Whoever takes a tool away does it to the row: until this is stored, no longer.
    tools = Tool.objects.filter(pk__in={call.tool_id for call in calls if call.tool_id})
    there = set(tools.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    refused = dict(refusals)
    for call in calls:
        call.reply, call.message = reply, message
        if call.tool_id and call.tool_id not in there:
            call.tool, call.status = None, ToolCall.Status.REFUSED
            refused[call.index] = WITHDRAWN
    ToolCall.objects.bulk_create(calls)
    settle(
        chat, *(Result(call, ToolCall.Status.REFUSED, refused[call.index]) for call in calls if call.index in refused)
    )


def rest(job: Job, *, seq: int) -> bool | None:
    """Leave a reply to its person, who has calls to decide on. False: there is more to do; None: it is to end here.

    That is where it is not ours, or where its person has gone on meanwhile, and so has given up on what waits.
    """
    reply = job.reply
    with transaction.atomic():
        # Locked as by a decision, and by whoever sends something: one of two sees what the other did.
        chat = job.lock_with_chat()
        if chat is None or Reply.objects.unfinished().filter(chat=chat).exclude(pk=reply.pk).exists():
            return None
        calls = ToolCall.objects.filter(message=job.message.pk)
        if set(calls.unsettled().values_list("status", flat=True)) != {ToolCall.Status.WAITING}:
            return False
        # What its worker has done is over: it is nothing against the reply when another one goes on.
        job.held.update(
            status=Reply.Status.WAITING,
            worker="",
            heartbeat_at=None,
            handovers=F("handovers") + 1,
            snapshot_seq=seq,
            held_seq=seq,
        )
        transaction.on_commit(partial(doorbell.ring, "chat", reply.chat_id))
    return True


def next_step(job: Job, *, seq: int) -> Job | None:
    """The same reply with a new message to write, below the results of its calls. None: it is no longer ours.

    Done twice it is as once. Raises TooDear when it has cost as much as it may.
    """
    reply, before = job.reply, job.message
    with transaction.atomic():
        chat = job.lock_with_chat()
        if chat is None:
            return None
        results = results_of_step(before.pk)
        message = Message.objects.filter(writer=reply).exclude(pk=before.pk).first()
        if message is None:
            if _is_too_dear(reply):
                raise TooDear
            message = _insert_next(chat, job, below=results[-1] if results else before)
            job.held.update(message=message, kept_characters=0, snapshot_seq=seq)
    request = _with_results(job, results)
    reply.message, reply.kept_characters = message, 0
    return replace(job, message=message, request=request, is_in_calls=False, taint=job.taint or taint_of(results))


def _insert_next(chat: Chat, job: Job, *, below: Message) -> Message:
    message = Message(
        chat=chat,
        parent=below,
        reply=job.reply,
        role=Message.Role.ASSISTANT,
        model=job.model,
        sources=sources_of(job.message, calls_of_step(job.message.pk)),
    )
    message.save(force_insert=True)
    grow(chat, message)
    Chat.objects.filter(pk=chat.pk).update(updated_at=message.created_at)
    return message


def _with_results(job: Job, results: Sequence[Message]) -> ChatRequest:
    """What the model reads next: all it has read, what it said, and what came of its calls."""
    messages = fitted([*job.asked_messages, *as_asked([job.message, *results])], characters=room_of(job.model))
    is_last = job.reply.steps >= settings.REPLY_TOOL_STEPS_MAX
    return replace(job.request, messages=messages, is_without_calls=is_last)


def _as_asked(call: ToolCall) -> dict[str, Any]:
    """A call as OpenAI has it, and so a provider gets it back.

    What is no JSON, or no name, providers would refuse from then on, whatever is said: the call itself has it.
    """
    arguments = call.arguments if call.arguments.strip() and arguments_of(call) is not None else "{}"
    name = _NO_NAME.sub("_", call.name)[:NAME_MAX_CHARACTERS] or "unknown"
    return {"id": call.call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _is_too_dear(reply: Reply) -> bool:
    costs = UsageRecord.objects.filter(reply=reply).values_list("cost", flat=True)
    # What has no price can't be held against one.
    return sum((cost for cost in costs if cost is not None), Decimal(0)) >= Decimal(settings.REPLY_TOOL_COST_MAX_USD)
