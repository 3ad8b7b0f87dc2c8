"""Every row the engine reads or writes. Sync functions; async code awaits them through `in_database`.

A worker's writes name itself and its attempt: after a takeover they change nothing.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts.queries import Prepared, stored
from chats import doorbell
from chats.catalog.models import AIModel, Price
from chats.catalog.services import limits_of, target_of, usable_fallback
from chats.llm.values import ChatRequest, Limits, Target, Usage
from chats.models import Chat, Message, Reply
from chats.replies import handoff
from chats.replies.database import AWAY, relaxed_durability
from chats.replies.present import message_json_of, reply_json
from chats.replies.prompt import continued, is_cut, prompt_of
from chats.usage.costs import estimated_usage
from chats.usage.models import UsageRecord
from chats.usage.services import record_usage

# A lost attempt may have numbered events beyond its last snapshot: at most about 40 a second, for at most a second, and
# as many more as the longest answer has pieces (at most 7,000, see config.checks). The next attempt starts this far on,
# so that no number is ever used twice.
LOST_EVENTS_MARGIN = 10_000
INTERRUPTED_MESSAGE = "The server was interrupted while answering. The text so far is kept; try again."

# At most: a model that counts more tokens in its language says so itself.
CHARACTERS_PER_TOKEN = 4
# Of what is our fault: its code, and one sentence of cause and next step.
INTERNAL = (
    "internal",
    "Something went wrong on this server. The text so far is kept; try again.",
)

# By hand, as it runs every second for every running reply: the ORM would cost twenty times what the database does.
SAVE_SEQ = """
    UPDATE chats_reply SET snapshot_seq = %s WHERE id = %s AND worker = %s AND attempt = %s AND status = 'running'
"""
GOING_ON = """
    SELECT r.id, r.worker, r.attempt FROM chats_reply r JOIN accounts_user u ON u.id = r.user_id
    WHERE r.status = 'running' AND r.stop_requested_at IS NULL AND u.is_active AND r.id IN (%s)
"""
NEXT_OF_CHAT = "SELECT id FROM chats_reply WHERE chat_id = %s AND status = 'queued' ORDER BY created_at LIMIT 1"
SAVE_TEXT = """
    UPDATE chats_message SET content = %s, reasoning = %s
    WHERE id = %s AND EXISTS (
        SELECT 1 FROM chats_reply WHERE id = %s AND worker = %s AND attempt = %s AND status = 'running'
    )
"""


@dataclass(frozen=True)
class Job:
    """A reply this worker now holds, with all it needs to run it. `reply` is as it was when it was claimed.

    `model` is the one to ask: the reply's own, or one that answers in its place. `target` is None when it is off.
    """

    reply: Reply
    message: Message
    model: AIModel | None
    price: Price | None
    target: Target | None
    request: ChatRequest
    limits: Limits
    is_cut: bool = False  # the oldest messages of the chat are not in the request

    @property
    def reply_id(self) -> UUID:
        return self.reply.pk

    @property
    def writer(self) -> dict[str, Any]:
        """Who writes the answer, as the columns of the reply have it."""
        first = self.reply.model
        return {"model": self.model, "price": self.price, "fallback_from": None if self.model == first else first}

    @property
    def notice(self) -> str:
        """What people are told when it is not the model that was asked for, or when it was not told all."""
        notices = []
        if self.model != self.reply.model:
            notices.append(f"{self.reply.model} did not answer; {self.model} answered instead.")
        if self.is_cut:
            notices.append("This chat is too long to be read at once; its oldest messages were left out.")
        return " ".join(notices)

    @property
    def lease(self) -> tuple[str, int]:
        return self.reply.worker, self.reply.attempt

    @property
    def kept_text(self) -> str:
        """What its message begins with: the text of the answer this one continues."""
        return self.message.content[: self.reply.kept_characters]

    @property
    def held(self) -> QuerySet[Reply]:
        """The row, as long as it is still ours."""
        return Reply.objects.held_by(*self.lease).filter(pk=self.reply.pk)


@dataclass(frozen=True)
class Snapshot:
    job: Job
    seq: int
    text: str
    reasoning: str


@dataclass(frozen=True)
class FailedCall:
    """A call that brought no answer, and yet the provider said what it used."""

    job: Job
    usage: Usage


@dataclass(frozen=True)
class Ending:
    """How a run ended, and what is to be stored and booked for it."""

    status: Reply.Status
    seq: int
    text: str
    reasoning: str
    tool_calls: Sequence[dict[str, Any]] = ()
    error_code: str = ""
    error_message: str = ""
    usage: Usage | None = None
    is_estimated: bool = False
    first_token_at: datetime | None = None
    failed_calls: Sequence[FailedCall] = ()
    names_writer: bool = False  # the rows may name another model, which was asked in between


@dataclass(frozen=True)
class Stored:
    """A reply as its row has it, for viewers who come when no log is live."""

    seq: int
    text: str = ""
    reasoning: str = ""
    finished: dict[str, Any] | None = None


def claim(reply_id: UUID, worker: str, *, stale_before: datetime) -> Job | None:
    """Take a waiting or abandoned reply, unless someone else was faster or an earlier one of its chat still runs."""
    # A claim lost in a power cut leaves the reply waiting, which is right: no need to wait for the disk.
    with relaxed_durability(), transaction.atomic():
        reply = _FREE.first(reply_id, stale_before)
        if reply is None:
            return None
        path = path_for(reply.model, reply.prompt_id)
        request = _request_of(reply, reply.message, path)
        if reply.attempt:
            _book_lost_attempt(reply, request)
        if reply.stop_requested_at or reply.message is None or not reply.user.is_active:
            end(reply, Reply.Status.STOPPED)
            return None
        # However often servers are replaced, it is nothing against the reply: only those that died count.
        if reply.attempt - reply.handovers >= settings.REPLY_MAX_ATTEMPTS:
            end(reply, Reply.Status.INTERRUPTED, "interrupted", INTERRUPTED_MESSAGE)
            return None
        if reply.fallback_from:
            _return_to_first_model(reply)
            request = _with_settings_of(reply.model, request)
        _hold(reply, worker)
        changed = ["model", "price", "fallback_from", "status", "worker", "attempt"]
        reply.save(update_fields=[*changed, "heartbeat_at", "started_at", "snapshot_seq", "held_seq"])
    return _job_of(reply, reply.message, request, is_cut=is_cut(path))


def _free(reply_id: UUID, stale_before: datetime) -> QuerySet[Reply]:
    """The reply, locked and with all it needs to run, if it may be taken."""
    free = Reply.objects.claimable(stale_before).first_of_chat().filter(pk=reply_id)
    related = ("chat", "user", "price", "message", "model__provider", "fallback_from__provider")
    return free.select_for_update(of=("self",)).select_related(*related)


_FREE = Prepared(_free)


def give_up(reply_id: UUID, *, stale_before: datetime) -> None:
    """End a reply that can't be run, and that nobody runs, as failed."""
    with transaction.atomic():
        reply = Reply.objects.claimable(stale_before).filter(pk=reply_id).select_for_update().first()
        if reply is not None:
            end(reply, Reply.Status.FAILED, *INTERNAL)


def hold_new(reply: Reply, answer: Message, *, worker: str, path: Sequence[Message]) -> Job:
    """Make a reply that is not saved yet this worker's own from the start."""
    _hold(reply, worker)
    return _job_of(reply, answer, _request_of(reply, answer, path), is_cut=is_cut(path))


def path_for(model: AIModel | None, leaf: UUID | None) -> list[Message]:
    """The messages down to `leaf`, or the last of them that `model` can read at once."""
    characters = settings.PROMPT_MAX_CHARACTERS
    if model is not None and model.context_window:
        characters = min(characters, model.context_window * CHARACTERS_PER_TOKEN)
    return Message.objects.end_of_path(leaf, characters=characters)


def fall_back(job: Job, *, asked: Collection[UUID]) -> Job | None:
    """Pass the reply on to the next model that may answer instead, at its price of now.

    None when there is none, or when the reply is no longer ours.
    """
    first = job.reply.model
    model = usable_fallback(job.reply.user, first, asked=asked) if first else None
    if model is None:
        return None
    job = replace(
        job,
        model=model,
        price=model.price_at(timezone.now()),
        target=target_of(model),
        request=_with_settings_of(model, job.request),
        limits=limits_of(model, window_seconds=settings.REPLY_WINDOW_SECONDS),
    )
    return job if name_writer(job) else None


def name_writer(job: Job) -> bool:
    """Write down who answers, for takeovers and for pages opened meanwhile. False: the reply is no longer ours."""
    with transaction.atomic():
        # The chat first, as every verb does: see `finish`.
        Chat.objects.select_for_update(no_key=True).filter(pk=job.reply.chat_id).first()
        is_held = bool(job.held.update(**job.writer))
        if is_held:
            Message.objects.filter(pk=job.message.pk).update(model=job.model, notice=job.notice)
    return is_held


def _return_to_first_model(reply: Reply) -> None:
    """Whoever answered in its place the last time: a reply that is run again asks the model it was started with."""
    assert reply.fallback_from is not None
    reply.model, reply.fallback_from = reply.fallback_from, None
    reply.price = reply.model.price_at(reply.created_at)


def _job_of(reply: Reply, message: Message, request: ChatRequest, *, is_cut: bool) -> Job:
    model = reply.model
    is_usable = model is not None and model.enabled and model.provider.enabled
    return Job(
        reply=reply,
        message=message,
        model=model,
        price=reply.price,
        target=target_of(model) if model and is_usable else None,
        request=request,
        limits=limits_of(model, window_seconds=settings.REPLY_WINDOW_SECONDS) if model else Limits(),
        is_cut=is_cut,
    )


def _request_of(reply: Reply, message: Message | None, path: Sequence[Message]) -> ChatRequest:
    messages = prompt_of(path, system_prompt=reply.chat.system_prompt)
    if message is not None and reply.kept_characters:
        messages = continued(messages, message.content[: reply.kept_characters])
    return _with_settings_of(reply.model, ChatRequest(messages=messages))


def _with_settings_of(model: AIModel | None, request: ChatRequest) -> ChatRequest:
    return replace(
        request,
        settings=model.default_settings if model else {},
        max_output_tokens=model.max_output_tokens if model else None,
    )


def _hold(reply: Reply, worker: str) -> None:
    _skip_lost_events(reply)
    reply.held_seq = reply.snapshot_seq
    reply.status, reply.worker, reply.attempt = Reply.Status.RUNNING, worker, reply.attempt + 1
    reply.heartbeat_at = timezone.now()
    reply.started_at = reply.started_at or reply.heartbeat_at


def _book_lost_attempt(reply: Reply, request: ChatRequest) -> None:
    """The provider worked for the attempt whose worker died, and bills it; what was stored of it is the estimate."""
    if reply.snapshot_seq <= reply.held_seq:
        return  # it died before its first snapshot: the text is of an earlier one, and booked
    message = reply.message
    text = message.content[reply.kept_characters :] if message else ""
    if message is None or not (text or message.reasoning):
        return
    usage = estimated_usage(request, text=text, reasoning=message.reasoning)
    record_usage(reply, model=reply.model, price=reply.price, message=message, usage=usage, is_estimated=True)


def _book(job: Job, ending: Ending, message: Message | None, *, is_deleted: bool = False) -> list[UsageRecord]:
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


def _skip_lost_events(reply: Reply) -> None:
    if reply.attempt:
        reply.snapshot_seq += LOST_EVENTS_MARGIN


def end(reply: Reply, status: Reply.Status, error_code: str = "", error_message: str = "") -> None:
    """Make a reply that nobody is running terminal. The caller holds the transaction and the row."""
    _skip_lost_events(reply)
    reply.status, reply.finished_at = status, timezone.now()
    reply.error_code, reply.error_message = error_code, error_message
    reply.save(update_fields=["status", "finished_at", "error_code", "error_message", "snapshot_seq"])
    # There is no log that could tell its viewers.
    transaction.on_commit(partial(doorbell.ring, "reply", reply.pk))
    transaction.on_commit(partial(_announce, reply))


def unfinished_ids(*, stale_before: datetime) -> list[UUID]:
    """Replies that could be claimed now, oldest first."""
    claimable = Reply.objects.claimable(stale_before).first_of_chat()
    return list(claimable.order_by("created_at").values_list("pk", flat=True)[:500])


def to_be_stopped(jobs: Sequence[Job]) -> set[UUID]:
    """Those of a worker's replies that were asked to stop, whose person was shut out, or that are its own no longer."""
    if not jobs:
        return set()
    ids = {stored(Reply, "id", job.reply_id): job for job in jobs}
    with connection.cursor() as cursor:
        cursor.execute(GOING_ON % ", ".join(["%s"] * len(ids)), list(ids))
        going_on = set(cursor.fetchall())
    return {job.reply_id for pk, job in ids.items() if (pk, *job.lease) not in going_on}


def beat(worker: str, reply_ids: Sequence[UUID]) -> None:
    Reply.objects.filter(pk__in=reply_ids, worker=worker, status=Reply.Status.RUNNING).update(
        heartbeat_at=timezone.now()
    )


def save_snapshots(snapshots: Sequence[Snapshot]) -> None:
    """Make what viewers have seen durable: all running replies of this process in one transaction."""
    seqs = [(s.seq, stored(Reply, "id", s.job.reply_id), *s.job.lease) for s in snapshots]
    texts = [
        (s.text, s.reasoning, stored(Message, "id", s.job.message.pk), *seq[1:])
        for s, seq in zip(snapshots, seqs, strict=True)
    ]
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
    answer = {
        "content": ending.text,
        "reasoning": ending.reasoning,
        "tool_calls": list(ending.tool_calls),
        "updated_at": now,
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
                _book(job, ending, None, is_deleted=True)
            return None
        written = message if Message.objects.filter(pk=message.pk).update(**answer) else None
        records = list(reply.usage_records.all()) if reply.attempt > 1 else []
        records += _book(job, ending, written)
        transaction.on_commit(partial(_announce, reply))
    for row, values in ((reply, changes), (message, answer)):
        for name, value in values.items():
            setattr(row, name, value)
    return finished_body(reply, written, records)


def _announce(reply: Reply) -> None:
    doorbell.ring("chat", reply.chat_id)
    # The next reply of this chat, if one waited its turn. While the database is away, the sweep finds it later.
    with suppress(*AWAY):
        for following in Reply.objects.raw(NEXT_OF_CHAT, [stored(Reply, "chat", reply.chat_id)]):
            handoff.enqueue(following.pk)


def finished_body(reply: Reply, message: Message | None, records: list[UsageRecord]) -> dict[str, Any]:
    """The fields of `reply.finished`."""
    shown = reply_json(reply, records)
    return {
        "status": shown["status"],
        "error": shown["error"],
        "fallback_from": shown["fallback_from"],
        "message": message_json_of(message) if message else None,
        "usage": shown["usage"],
        "cost": shown["cost"],
    }


def stored_state(reply_id: UUID, seen: int) -> Stored | None:
    """What the database knows of a reply beyond event `seen`; None when the reply is gone."""
    state = _STATE.first(reply_id)
    if state is None:
        return None
    if not state.is_finished and state.snapshot_seq <= seen <= state.snapshot_seq + LOST_EVENTS_MARGIN:
        return Stored(seq=state.snapshot_seq)
    reply = _WITH_TEXT.first(reply_id)
    if reply is None:
        return None
    message = reply.message  # deleted, perhaps, and then there is an end but no text
    return Stored(
        seq=reply.snapshot_seq,
        text=message.content if message else "",
        reasoning=message.reasoning if message else "",
        finished=finished_body(reply, message, list(reply.usage_records.all())) if reply.is_finished else None,
    )


_STATE = Prepared(lambda reply_id: Reply.objects.filter(pk=reply_id).only("status", "snapshot_seq"))
_WITH_TEXT = Prepared(lambda reply_id: Reply.objects.filter(pk=reply_id).select_related("message"))


def stale_moment() -> datetime:
    """Running replies not heard of since this moment have lost their worker."""
    return timezone.now() - timedelta(seconds=settings.REPLY_STALE_SECONDS)
