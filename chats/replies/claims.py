"""How a reply comes to a worker, and passes to another model: every row that is read or written for it.

Sync functions; async code awaits them through `in_database`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone

from accounts.queries import Prepared
from chats.catalog.models import AIModel
from chats.catalog.services import limits_of, target_of, usable_fallback
from chats.llm.values import ChatRequest, Limits
from chats.models import Chat, Message, Reply, ToolCall
from chats.replies.database import relaxed_durability
from chats.replies.endings import INTERNAL, end, skip_lost_events
from chats.replies.lease import Job
from chats.replies.prompt import continued, fitted, is_cut, prompt_of, room_of
from chats.replies.taint import DONE_BEFORE, EARLIER, taint_of
from chats.usage.costs import estimated_usage
from chats.usage.services import record_usage

INTERRUPTED_MESSAGE = "The server was interrupted while answering. The text so far is kept; try again."


def claim(reply_id: UUID, worker: str) -> Job | None:
    """Take a waiting or abandoned reply, unless someone else was faster or an earlier one of its chat still runs."""
    # A claim lost in a power cut leaves the reply waiting, which is right: no need to wait for the disk.
    with relaxed_durability(), transaction.atomic():
        reply = _FIRST.first(reply_id)
        if reply is None or not _is_free(reply):
            return None
        if _ending_of(reply) is None:
            return _take(reply, worker)
    _end_free(reply)
    return None


def _take(reply: Any, worker: str) -> Job:
    path, request = _read_by(reply)
    if reply.attempt:
        _book_lost_attempt(reply, request)
    if reply.fallback_from:
        _return_to_first_model(reply)
        request = _with_settings_of(reply.model, request)
    _hold(reply, worker)
    changed = ["model", "price", "fallback_from", "status", "worker", "attempt"]
    reply.save(update_fields=[*changed, "heartbeat_at", "started_at", "snapshot_seq", "held_seq"])
    return _job_of(reply, reply.message, request, path=path)


def _read_by(reply: Reply) -> tuple[list[Message], ChatRequest]:
    """What leads to its message, which is the question and the steps that are done; and as a model is asked."""
    path = path_for(reply.model, reply.message.parent_id if reply.message else reply.prompt_id)
    return path, _request_of(reply, reply.message, path)


def _ending_of(reply: Reply) -> tuple[Reply.Status, str, str] | None:
    """How a reply ends that is not to be run (again), with the code of an error and its sentence."""
    if reply.stop_requested_at or reply.message is None or not reply.user.is_active:
        return (Reply.Status.STOPPED, "", "")
    # However often servers are replaced, it is nothing against the reply: only those that died count.
    if reply.attempt - reply.handovers >= settings.REPLY_MAX_ATTEMPTS:
        return (Reply.Status.INTERRUPTED, "interrupted", INTERRUPTED_MESSAGE)
    return None


def _end_free(reply: Reply) -> None:
    """End a reply that nobody runs."""
    with transaction.atomic():
        # The chat first, as every verb does: its calls are settled in it.
        Chat.objects.locked().filter(pk=reply.chat_id).first()
        current = _FIRST.first(reply.pk)
        ending = _ending_of(current) if current is not None and _is_free(current) else None
        if current is None or ending is None:
            return
        if current.attempt:
            _book_lost_attempt(current, _read_by(current)[1])
        end(current, *ending)


def _first(reply_id: UUID) -> QuerySet[Reply]:
    """The reply if it is its chat's turn, locked and with all it needs to run; `asked_at` is the database's now."""
    first = Reply.objects.unfinished().first_of_chat().filter(pk=reply_id).annotate(asked_at=Now())
    # Not `fallback_from`, which few have: each table makes the database think longer than it takes to look.
    related = ("chat", "user", "price", "message", "model__provider")
    return first.select_for_update(of=("self",)).select_related(*related)


_FIRST = Prepared(_first)


def _is_free(reply: Any) -> bool:
    """As `claimable`, of a row that is there."""
    if reply.status == Reply.Status.RUNNING:
        return bool(reply.heartbeat_at < reply.asked_at - _stale())
    return bool(reply.status == Reply.Status.QUEUED or reply.stop_requested_at)


def stale_moment() -> Combinable:
    """Running replies not heard of since this moment have lost their worker.

    By the database's clock, as their heartbeats: those of nodes may differ.
    """
    return Now() - _stale()


def abandon_running() -> None:
    """Nobody will be heard of any more, as at the start of the one process that has an SQLite file."""
    Reply.objects.filter(status=Reply.Status.RUNNING).update(heartbeat_at=datetime.min.replace(tzinfo=UTC))


def _stale() -> timedelta:
    return timedelta(seconds=settings.REPLY_STALE_SECONDS)


def give_up(reply_id: UUID) -> None:
    """End a reply that can't be run, and that nobody runs, as failed."""
    with transaction.atomic():
        Chat.objects.locked().filter(replies=reply_id).first()
        reply = Reply.objects.claimable(stale_moment()).filter(pk=reply_id).select_for_update().first()
        if reply is not None:
            end(reply, Reply.Status.FAILED, *INTERNAL)


def hold_new(reply: Reply, answer: Message, *, worker: str, path: Sequence[Message]) -> Job:
    """Make a reply that is not saved yet this worker's own from the start."""
    _hold(reply, worker)
    return _job_of(reply, answer, _request_of(reply, answer, path), path=path)


def path_for(model: AIModel | None, leaf: UUID | None) -> list[Message]:
    """The messages down to `leaf`, or the last of them that `model` can read at once: at least the last question."""
    return Message.objects.end_of_path(leaf, characters=room_of(model))


def path_with(model: AIModel | None, prompt: Message) -> list[Message]:
    """As `path_for`, down to a message that is not stored yet."""
    room = room_of(model) - len(prompt.content)
    return [*Message.objects.end_of_path(prompt.parent_id, characters=room, is_asked=True), prompt]


def fall_back(job: Job, *, asked: Collection[UUID]) -> Job | None:
    """Pass the reply on to the next model that may answer instead, at its price of now.

    None when there is none, or when the reply is no longer ours.
    """
    first = job.reply.model
    model = usable_fallback(job.reply.user, first, asked=asked) if first else None
    if model is None:
        return None
    request = _with_settings_of(model, job.request)
    job = replace(
        job,
        model=model,
        price=model.price_at(timezone.now()),
        target=target_of(model),
        request=request if model.supports_tools else replace(request, tools=()),
        limits=limits_of(model, window_seconds=settings.REPLY_WINDOW_SECONDS),
    )
    return job if name_writer(job) else None


def name_writer(job: Job) -> bool:
    """Write down who answers, for takeovers and for pages opened meanwhile. False: the reply is no longer ours."""
    with transaction.atomic():
        # The chat first, as every verb does: see `finish`.
        Chat.objects.locked().filter(pk=job.reply.chat_id).first()
        is_held = bool(job.held.update(**job.writer))
        if is_held:
            Message.objects.filter(pk=job.message.pk).update(model=job.model, notice=job.notice)
    return is_held


def _return_to_first_model(reply: Reply) -> None:
    """Whoever answered in its place the last time: a reply that is run again asks the model it was started with."""
    assert reply.fallback_from is not None
    reply.model, reply.fallback_from = reply.fallback_from, None
    reply.price = reply.model.price_at(reply.created_at)


def _job_of(reply: Reply, message: Message, request: ChatRequest, *, path: Sequence[Message]) -> Job:
    model = reply.model
    is_usable = model is not None and model.enabled and model.provider.enabled
    return Job(
        reply=reply,
        message=message,
        model=model,
        price=reply.price,
        target=target_of(model) if model and is_usable else None,
        request=replace(request, is_without_calls=reply.steps >= settings.REPLY_TOOL_STEPS_MAX),
        limits=limits_of(model, window_seconds=settings.REPLY_WINDOW_SECONDS) if model else Limits(),
        is_cut=is_cut(path),
        # Nothing asks for calls before what it says is stored with them.
        is_in_calls=bool(reply.steps and message.tool_calls),
        taint=taint_of(path) or _taint_above(path) or _taint_beside(reply),
    )


def _taint_above(path: Sequence[Message]) -> str:
    """The same of what is left out of `path`: an answer to it may have said it again."""
    above = path[0].parent_id if is_cut(path) else None
    return EARLIER if above is not None and Message.objects.has_words_of_others(above) else ""


def _taint_beside(reply: Reply) -> str:
    """Whoever wants another answer may not want done again what the earlier one has had done."""
    if reply.request_verb != Reply.Verb.REGENERATE:
        return ""
    done = ToolCall.objects.filter(reply__prompt=reply.prompt_id, is_read_only=False, status__in=ToolCall.BEGUN)
    return DONE_BEFORE if done.exclude(reply=reply).exists() else ""


def _request_of(reply: Reply, message: Message | None, path: Sequence[Message]) -> ChatRequest:
    messages = fitted(prompt_of(path, system_prompt=reply.chat.system_prompt), characters=room_of(reply.model))
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
    skip_lost_events(reply)
    reply.held_seq = reply.snapshot_seq
    reply.status, reply.worker, reply.attempt = Reply.Status.RUNNING, worker, reply.attempt + 1
    reply.heartbeat_at = Now()
    reply.started_at = reply.started_at or timezone.now()


def _book_lost_attempt(reply: Reply, request: ChatRequest) -> None:
    """The provider worked for the attempt whose worker died, and bills it; what was stored of it is the estimate."""
    if reply.snapshot_seq <= reply.held_seq:
        return  # it died before its first snapshot: the text is of an earlier one, and booked
    message = reply.message
    if message is not None and message.tool_calls:
        return  # a step was booked when its calls were stored
    text = message.content[reply.kept_characters :] if message else ""
    if message is None or not (text or message.reasoning):
        return
    usage = estimated_usage(request, text=text, reasoning=message.reasoning)
    record_usage(reply, model=reply.model, price=reply.price, message=message, usage=usage, is_estimated=True)


def unfinished_ids() -> list[UUID]:
    """Replies that could be claimed now, oldest first."""
    claimable = Reply.objects.claimable(stale_moment()).first_of_chat()
    return list(claimable.order_by("created_at").values_list("pk", flat=True)[:500])
