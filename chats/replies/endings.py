"""How replies end in their rows: messages, usage and status in one transaction."""

from contextlib import suppress
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.queries import stored
from chats import doorbell
from chats.models import Chat, Message, Reply
from chats.replies import handoff
from chats.replies.calls import settle_all
from chats.replies.database import AWAY
from chats.replies.lease import LOST_EVENTS_MARGIN, Ending, Job
from chats.replies.present import cost_json, error_json, message_json_of, usage_json
from chats.usage.models import UsageRecord
from chats.usage.services import record_usage

# Of what is our fault: its code, and one sentence of cause and next step.
INTERNAL = (
    "internal",
    "Something went wrong on this server. The text so far is kept; try again.",
)
NEXT_OF_CHAT = "SELECT id FROM chats_reply WHERE chat_id = %s AND status = 'queued' ORDER BY created_at LIMIT 1"


def finish(job: Job, ending: Ending) -> dict[str, Any] | None:
    """Store the end of a run, book it, and return the body of its last event; None if the reply is no longer ours."""
    reply, message, now = job.reply, job.message, timezone.now()
    changes = {
        "status": ending.status,
        "snapshot_seq": ending.seq,
        "finished_at": now,
        "first_token_at": ending.first_token_at,
        "error_code": ending.error_code,
        "error_message": ending.error_message,
    }
    answer: dict[str, Any] = {"updated_at": now}
    if not ending.is_in_calls:
        answer |= {
            "content": ending.text,
            "reasoning": ending.reasoning,
            "tool_calls": list(ending.tool_calls),
        }
    if ending.names_writer:
        changes |= job.writer
        answer |= {"model": job.model, "notice": job.notice}
    with transaction.atomic():
        # The chat first, as every verb does: two transactions that lock in another order wait for each other for ever.
        Chat.objects.filter(pk=reply.chat_id).update(updated_at=now)
        if not job.held.update(**changes):
            # Taken over, or deleted with its chat or its person: what was spent is to be booked all the same.
            if Reply.objects.filter(pk=reply.pk).exists():
                transaction.set_rollback(True)
            else:
                book(job, ending, None, is_deleted=True)
            return None
        written = message if Message.objects.filter(pk=message.pk).update(**answer) else None
        settle_all(reply)
        records = list(reply.usage_records.all()) if reply.attempt > 1 or reply.steps else []
        records += book(job, ending, written)
        transaction.on_commit(partial(_announce, reply))
    for row, values in ((reply, changes), (message, answer)):
        for name, value in values.items():
            setattr(row, name, value)
    return finished_body(reply, written, records)


def book(job: Job, ending: Ending, message: Message | None, *, is_deleted: bool = False) -> list[UsageRecord]:
    """Each call of a run that used something, at the price in force when its model was asked."""
    records = [
        # It wrote no message, and so the ledger names none.
        record_usage(
            job.reply,
            model=call.job.model,
            price=call.job.price,
            message=None,
            usage=call.usage,
            is_estimated=False,
            is_deleted=is_deleted,
        )
        for call in ending.failed_calls
    ]
    if ending.usage is not None:
        records.append(
            record_usage(
                job.reply,
                model=job.model,
                price=job.price,
                message=message,
                usage=ending.usage,
                is_estimated=ending.is_estimated,
                is_deleted=is_deleted,
            )
        )
    return records


# With the status stopped: nobody pressed Stop.
SUPERSEDED = ("superseded", "You went on without deciding about a call of a tool, so it was not carried out.")


def end(reply: Reply, status: Reply.Status, error_code: str = "", error_message: str = "") -> None:
    """Make a reply that nobody is running terminal. The caller holds the transaction, the chat and the row."""
    skip_lost_events(reply)
    settle_all(reply)
    reply.status, reply.finished_at = status, timezone.now()
    reply.error_code, reply.error_message = error_code, error_message
    reply.save(update_fields=["status", "finished_at", "error_code", "error_message", "snapshot_seq"])
    # There is no log that could tell its viewers.
    transaction.on_commit(partial(doorbell.ring, "reply", reply.pk))
    transaction.on_commit(partial(_announce, reply))


def skip_lost_events(reply: Reply) -> None:
    if reply.attempt and not reply.is_at_rest:
        reply.snapshot_seq += LOST_EVENTS_MARGIN


def _announce(reply: Reply) -> None:
    doorbell.ring("chat", reply.chat_id)
    # The next reply of this chat, if one waited its turn. While the database is away, the sweep finds it later.
    with suppress(*AWAY):
        for following in Reply.objects.raw(NEXT_OF_CHAT, [stored(Reply, "chat", reply.chat_id)]):
            handoff.enqueue(following.pk)


def finished_body(reply: Reply, message: Message | None, records: list[UsageRecord]) -> dict[str, Any]:
    """The fields of `reply.finished`."""
    return {
        "status": reply.status,
        "error": error_json(reply),
        "fallback_from": str(reply.fallback_from_id) if reply.fallback_from_id else None,
        "message": message_json_of(message) if message else None,
        "usage": usage_json(records),
        "cost": cost_json(records),
    }
