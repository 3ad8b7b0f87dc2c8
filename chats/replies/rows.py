"""What a running reply writes into its rows, and what viewers find there.

Sync functions; async code awaits them through `in_database`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.queries import Prepared, stored
from chats.models import Message, Reply, ToolCall
from chats.replies import handoff
from chats.replies.database import relaxed_durability
from chats.replies.endings import finished_body
from chats.replies.events import NOTHING, Standing
from chats.replies.lease import LOST_EVENTS_MARGIN, Job, Snapshot
from chats.replies.present import call_json

# By hand, as it runs every second for every running reply: the ORM would cost twenty times what the database does.
SAVE_SEQ = """
    UPDATE chats_reply SET snapshot_seq = %s
    WHERE id = %s AND worker = %s AND attempt = %s AND status = 'running' AND snapshot_seq <= %s
"""
SAVE_TEXT = """
    UPDATE chats_message SET content = %s, reasoning = %s
    WHERE id = %s AND EXISTS (
        SELECT 1 FROM chats_reply
        WHERE id = %s AND worker = %s AND attempt = %s AND status = 'running' AND snapshot_seq = %s AND message_id = %s
    )
"""
GOING_ON = """
    SELECT r.id, r.worker, r.attempt FROM chats_reply r JOIN accounts_user u ON u.id = r.user_id
    WHERE r.status = 'running' AND r.stop_requested_at IS NULL AND u.is_active AND r.id IN (%s)
"""


@dataclass(frozen=True)
class Stored:
    """A reply as its row has it, for viewers who come when no log is live."""

    seq: int
    standing: Standing = NOTHING
    finished: dict[str, Any] | None = None
    is_at_rest: bool = False  # it waits for its person, and nothing happens meanwhile
    waiting: Sequence[dict[str, Any]] = ()  # the calls that it waits for


def beat(worker: str, reply_ids: Sequence[UUID]) -> None:
    Reply.objects.filter(pk__in=reply_ids, worker=worker, status=Reply.Status.RUNNING).update(heartbeat_at=Now())


def to_be_stopped(jobs: Sequence[Job]) -> set[UUID]:
    """Those of a worker's replies that were asked to stop, whose person was shut out, or that are its own no longer."""
    if not jobs:
        return set()
    ids = {stored(Reply, "id", job.reply_id): job for job in jobs}
    with connection.cursor() as cursor:
        cursor.execute(GOING_ON % ", ".join(["%s"] * len(ids)), list(ids))
        going_on = set(cursor.fetchall())
    return {job.reply_id for pk, job in ids.items() if (pk, *job.lease) not in going_on}


def save_snapshots(snapshots: Sequence[Snapshot]) -> None:
    """Make what viewers have seen durable: all running replies of this process in one transaction."""
    # Never backwards: a step, or an end, that was stored while this was on its way knows more.
    seqs = [(s.seq, stored(Reply, "id", s.job.reply_id), *s.job.lease, s.seq) for s in snapshots]
    texts = []
    for s, seq in zip(snapshots, seqs, strict=True):
        message = stored(Message, "id", s.job.message.pk)
        texts.append((s.text, s.reasoning, message, *seq[1:], message))
    with relaxed_durability(), transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(SAVE_SEQ, seqs)
        cursor.executemany(SAVE_TEXT, texts)


def release(snapshots: Sequence[Snapshot]) -> None:
    """Hand running replies over, and call for somebody to claim them."""
    save_snapshots(snapshots)
    with transaction.atomic():
        for snapshot in snapshots:
            queued = {"status": Reply.Status.QUEUED, "worker": "", "heartbeat_at": None}
            if snapshot.job.held.update(**queued, handovers=F("handovers") + 1):
                handoff.enqueue(snapshot.job.reply_id)


def stored_state(reply_id: UUID, seen: int) -> Stored | None:
    """What the database knows of a reply beyond event `seen`; None when the reply is gone."""
    state = _STATE.first(reply_id)
    if state is None:
        return None
    if not state.is_finished and state.snapshot_seq <= seen <= state.snapshot_seq + LOST_EVENTS_MARGIN:
        return Stored(seq=state.snapshot_seq, is_at_rest=state.status == Reply.Status.WAITING)
    reply = _WITH_TEXT.first(reply_id)
    if reply is None:
        return None
    message = reply.message  # deleted, perhaps, and then there is an end but no text
    return Stored(
        seq=reply.snapshot_seq,
        standing=_standing(message),
        finished=finished_body(reply, message, list(reply.usage_records.all())) if reply.is_finished else None,
        is_at_rest=reply.status == Reply.Status.WAITING,
        waiting=_waiting(reply) if reply.status == Reply.Status.WAITING else (),
    )


def _waiting(reply: Reply) -> list[dict[str, Any]]:
    calls = ToolCall.objects.filter(reply=reply, status=ToolCall.Status.WAITING).order_by("step", "index")
    return [call_json(call, is_short=True) for call in calls.defer("output")]


def is_waiting_for_approval(reply_id: UUID) -> bool:
    return Reply.objects.filter(pk=reply_id, status=Reply.Status.WAITING).exists()


def _standing(message: Message | None) -> Standing:
    if message is None:
        return NOTHING
    return Standing(message.content, message.reasoning, str(message.pk), len(message.tool_calls))


_STATE = Prepared(lambda reply_id: Reply.objects.filter(pk=reply_id).only("status", "snapshot_seq"))


_WITH_TEXT = Prepared(lambda reply_id: Reply.objects.filter(pk=reply_id).select_related("message"))
