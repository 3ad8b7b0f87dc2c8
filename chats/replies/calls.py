"""The rows of tool calls: written down before they begin, settled with a message that holds their result.

Sync functions. Each transaction locks the chat first, as every verb does, and looks whether the reply is still ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from chats.cleaning import clean_text
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
    """Write down that a call begins. False: it is not to be run any more. Done twice it is as once."""
    now = timezone.now()
    with transaction.atomic():
        if not job.lock():
            return False
        # Running: this was stored before, and its answer was lost on the way. As long as the reply is ours, no one
        # else begins a call of it.
        ready = ToolCall.objects.filter(pk=call.pk, status__in=[Status.READY, Status.RUNNING])
        if not ready.update(status=Status.RUNNING, started_at=now):
            return False
    call.status, call.started_at = Status.RUNNING, now
    return True


def finish_call(
    job: Job, call: ToolCall, status: ToolCall.Status, outcome: Outcome, sources: Sequence[Mapping[str, Any]] = ()
) -> bool:
    """Store what has come of a call. False: the reply is no longer ours, and nobody knows of it.

    Done twice it is as once.
    """
    with transaction.atomic():
        chat = job.lock_with_chat()
        if chat is None:
            return False
        stored = ToolCall.objects.only("status", "result_message", "finished_at").get(pk=call.pk)
        if stored.is_settled:
            call.status, call.finished_at = stored.status, stored.finished_at
            call.result_message_id = stored.result_message_id
            return True
        if status == Status.REFUSED:
            # Whatever allowed it, it did not run.
            call.decision = call.decision if call.decided_by_id else ""
        call.output = {
            "parts": list(outcome.parts),
            "structured": outcome.structured,
            "is_cut": outcome.is_cut,
            **({"sources": list(sources)} if sources else {}),
        }
        settle(chat, Result(call, status, outcome.text, is_error=outcome.is_error, is_own=outcome.is_own))
    return True


@dataclass(frozen=True, slots=True)
class Calls:
    """Those of the step a reply is in; of the `untold` among them, which are settled, no viewer has heard."""

    all: Sequence[ToolCall] = ()
    untold: Sequence[ToolCall] = ()


def take_calls(job: Job, *, is_anew: bool = False) -> Calls:
    """The calls as they stand. Where the run begins `is_anew`, those that had begun begin again, or are settled.

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
        begun = [call for call in calls if call.status == Status.RUNNING] if is_anew else []
        for call in begun:
            if call.is_read_only:
                call.status, call.started_at = Status.READY, None
                call.save(update_fields=["status", "started_at"])
        lost = [call for call in begun if not call.is_read_only]
        settle(chat, *(Result(call, Status.UNKNOWN, UNKNOWN) for call in lost))
        untold += lost
    return Calls(calls, untold)


def calls_of_step(message_id: UUID) -> list[ToolCall]:
    """In their order, each with its tool and server."""
    calls = ToolCall.objects.filter(message=message_id).select_related("tool__server").order_by("step", "index")
    return list(calls.defer("tool__server__headers", "tool__server__environment"))


def settle_all(reply: Reply) -> None:
    """End what is unsettled of a reply that ends. The caller holds the transaction, and the chat."""
    calls = list(ToolCall.objects.filter(reply=reply).unsettled().order_by("step", "index")) if reply.steps else []
    chat = Chat.objects.locked().filter(pk=reply.chat_id).first() if calls else None
    ends = [_end_of(call) for call in calls]
    if chat is not None:
        # They are of one step: a reply comes to the next when all are settled.
        settle(chat, *(end for end in ends if end.call.message_id is not None))
    for end in ends:
        if chat is None or end.call.message_id is None:
            end.call.status, end.call.finished_at = end.status, timezone.now()
            end.call.save(update_fields=["status", "finished_at"])


def _end_of(call: ToolCall) -> "Result":
    if call.status == Status.RUNNING:
        return Result(call, Status.UNKNOWN, STOPPED_RUNNING)
    return Result(call, Status.STOPPED, STOPPED)


@dataclass(frozen=True, slots=True)
class Result:
    """What a call has come to, in words for the model. `is_own`: they are Parley's, and no one else's."""

    call: ToolCall
    status: ToolCall.Status
    text: str
    is_error: bool = True
    is_own: bool = True

    def message_below(self, parent_id: UUID | None, *, chat: Chat) -> Message:
        """As the chat has it. Whatever a tool has said, it is fit for both databases."""
        text = clean_text(self.text)
        text = text if text.strip() else NOTHING
        result = {"tool_call_id": self.call.call_id, "name": self.call.name, "content": text, "is_error": self.is_error}
        return Message(
            chat=chat,
            parent_id=parent_id,
            reply_id=self.call.reply_id,
            role=Message.Role.TOOL,
            content=text,
            tool_results=[{**result, "is_own": True} if self.is_own else result],
        )


def settle(chat: Chat, *results: Result) -> None:
    """Give calls of one step their results, as messages below those that it has already.

    The caller holds the transaction, and has locked the chat.
    """
    if not results:
        return
    tip = tip_of_step(results[0].call.message_id)
    messages: list[Message] = []
    for result in results:
        message = result.message_below(messages[-1].pk if messages else tip, chat=chat)
        messages.append(message)
        call = result.call
        call.status, call.result_message, call.finished_at = result.status, message, message.created_at
    Message.objects.bulk_create(messages)
    calls = [result.call for result in results]
    ToolCall.objects.bulk_update(calls, ["status", "result_message", "finished_at", "output", "decision", "decided_at"])
    grow(chat, *messages)


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


def grow(chat: Chat, *messages: Message) -> None:
    """Let the chat go on to these, each below the one before, if it is looked at where they were added.

    What was said there meanwhile, and is not answered yet, comes after them: its answer has to know of them.
    """
    above, last = messages[0].parent_id, messages[-1].pk
    if chat.current_leaf_id == above:
        chat.current_leaf_id = last
        chat.save(update_fields=["current_leaf"])
    queued = Reply.objects.filter(chat=chat, status=Reply.Status.QUEUED).values("prompt")
    if above is not None and Message.objects.filter(parent=above, pk__in=queued).update(parent=last):
        Message.objects.filter(pk=above, chosen_child__parent=last).update(chosen_child=None)


def sources_of(message: Message, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """All passages that the next step may refer to: those it began with, and those that calls have found."""
    found = [source for call in calls for source in call.output.get("sources", [])]
    known = list(message.sources)
    return [*known, *sorted(found, key=lambda source: int(source["number"]))]
