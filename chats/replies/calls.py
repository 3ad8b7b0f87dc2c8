"""The rows of tool calls: written down before they begin, settled with a message that holds their result.

Sync functions. Each transaction locks the chat first, as every verb does, and looks whether the reply is still ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from chats.models import Chat, Message, Reply, ToolCall
from chats.replies.lease import Job
from chats.tools.values import Outcome

Status = ToolCall.Status

UNKNOWN = (
    "The outcome of this call is unknown: the server that ran it went away in the middle. It may or may not have been"
    " carried out. Do not repeat it without asking the user."
)
NOTHING = "(It answered nothing.)"
STOPPED = "The user stopped before this call was run. It was not carried out."
STOPPED_RUNNING = "The user stopped while this call was running. It may or may not have been carried out."


def start_call(job: Job, call: ToolCall) -> bool:
    """Write down that a call begins. False: it is not to be run any more."""
    now = timezone.now()
    with transaction.atomic():
        if not job.lock():
            return False
        ready = ToolCall.objects.filter(pk=call.pk, status=Status.READY)
        if not ready.update(status=Status.RUNNING, started_at=now):
            return False
    call.status, call.started_at = Status.RUNNING, now
    return True


def finish_call(
    job: Job, call: ToolCall, status: ToolCall.Status, outcome: Outcome, sources: Sequence[Mapping[str, Any]] = ()
) -> bool:
    """Store what has come of a call. False: the reply is no longer ours, and nobody knows of it."""
    with transaction.atomic():
        chat = job.lock_with_chat()
        if chat is None:
            return False
        call.output = {
            "parts": list(outcome.parts),
            "structured": outcome.structured,
            "is_cut": outcome.is_cut,
            **({"sources": list(sources)} if sources else {}),
        }
        settle(chat, call, status, outcome.text, is_error=outcome.is_error)
    return True


@dataclass(frozen=True, slots=True)
class Calls:
    """Those of the step a reply is in; of the `untold` among them, which are settled, no viewer has heard."""

    all: Sequence[ToolCall] = ()
    untold: Sequence[ToolCall] = ()


def take_calls(job: Job, *, is_taken_over: bool = False) -> Calls:
    """The calls as they stand. Where the reply `is_taken_over`, those that had begun begin again, or are settled.

    Only what reads may be run twice. Of the rest nobody knows, and nobody guesses.
    """
    with transaction.atomic():
        chat = job.lock_with_chat()
        if chat is None:
            return Calls()
        calls = calls_of_step(job.message.pk)
        untold = [call for call in calls if call.output.pop("untold", False)]
        for call in untold:
            call.save(update_fields=["output"])
        for call in calls if is_taken_over else ():
            if call.status == Status.RUNNING and call.is_read_only:
                call.status, call.started_at = Status.READY, None
                call.save(update_fields=["status", "started_at"])
            elif call.status == Status.RUNNING:
                settle(chat, call, Status.UNKNOWN, UNKNOWN, is_error=True, is_own=True)
                untold.append(call)
    return Calls(calls, untold)


def calls_of_step(message_id: UUID) -> list[ToolCall]:
    """In their order, each with its tool and server."""
    calls = ToolCall.objects.filter(message=message_id).select_related("tool__server").order_by("step", "index")
    return list(calls.defer("tool__server__headers", "tool__server__environment"))


def settle_all(reply: Reply) -> None:
    """End what is unsettled of a reply that ends. The caller holds the transaction, and the chat."""
    calls = list(ToolCall.objects.filter(reply=reply).unsettled().order_by("step", "index")) if reply.steps else []
    chat = Chat.objects.locked().filter(pk=reply.chat_id).first() if calls else None
    for call in calls:
        is_begun = call.status == Status.RUNNING
        status = Status.UNKNOWN if is_begun else Status.STOPPED
        if chat is not None and call.message_id is not None:
            text = STOPPED_RUNNING if is_begun else STOPPED
            settle(chat, call, status, text, is_error=True, is_own=True)
        else:
            call.status, call.finished_at = status, timezone.now()
            call.save(update_fields=["status", "finished_at"])


def settle(
    chat: Chat, call: ToolCall, status: ToolCall.Status, text: str, *, is_error: bool = False, is_own: bool = False
) -> Message:
    """Give a call its result, as a message below its step's earlier ones. `is_own`: the words are Parley's.

    The caller holds the transaction, and has locked the chat.
    """
    now = timezone.now()
    text = text if text.strip() else NOTHING
    result = {"tool_call_id": call.call_id, "name": call.name, "content": text, "is_error": is_error}
    message = Message(
        chat=chat,
        parent_id=tip_of_step(call.message_id),
        reply_id=call.reply_id,
        role=Message.Role.TOOL,
        content=text,
        tool_results=[{**result, "is_own": True} if is_own else result],
        created_at=now,
    )
    message.save(force_insert=True)
    move_leaf(chat, message)
    call.status, call.result_message, call.finished_at = status, message, now
    call.save(update_fields=["status", "result_message", "finished_at", "output", "decision", "decided_at"])
    return message


def tip_of_step(message_id: UUID | None) -> UUID | None:
    """The last of the results below a step, or the step itself when there is none yet."""
    below = dict(Message.objects.filter(result_of__message=message_id).values_list("parent", "pk"))
    tip = message_id
    while tip in below:
        tip = below.pop(tip)
    return tip


def results_of_step(message_id: UUID) -> list[Message]:
    """What came of its calls, each below the one before; in this order a model reads them, now and later."""
    below = {row.parent_id: row for row in Message.objects.filter(result_of__message=message_id)}
    results: list[Message] = []
    at: UUID | None = message_id
    while (row := below.pop(at, None)) is not None:
        results.append(row)
        at = row.pk
    return results


def move_leaf(chat: Chat, message: Message) -> None:
    """Go on to `message`, if the chat is looked at where it was added."""
    if chat.current_leaf_id == message.parent_id:
        chat.current_leaf_id = message.pk
        chat.save(update_fields=["current_leaf"])


def sources_of(message: Message, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """All passages that the next step may refer to: those it began with, and those that calls have found."""
    found = [source for call in calls for source in call.output.get("sources", [])]
    known = list(message.sources)
    return [*known, *sorted(found, key=lambda source: int(source["number"]))]
