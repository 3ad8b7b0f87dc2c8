"""The word of a person on a call that a model has asked for: approve it once, for this chat or always, or deny it."""

from contextlib import suppress
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.queries import found
from chats import doorbell
from chats.cleaning import check_line, clean_text
from chats.errors import Conflict, Invalid, NotFound
from chats.models import Chat, Reply, ToolCall, ToolGrant
from chats.replies import handoff
from chats.replies.calls import Result, settle
from chats.services import lock_chat
from chats.tools.errors import ServerChanged
from chats.tools.models import Tool
from chats.tools.services import lock_tool, set_policy

Decision, Status = ToolCall.Decision, ToolCall.Status

REASON_MAX_CHARACTERS = 500
SCOPES = {"once": Decision.ONCE, "chat": Decision.FOR_CHAT, "always": Decision.ALWAYS}


def decide_call(
    user: User, reply: Reply, call: str, *, approved: bool, reason: str = "", scope: str = "once"
) -> ToolCall:
    """Let a call of `reply` run, or deny it, with words for the model; the reply goes on once nothing waits.

    `call` is its id, or the model's id of it. The same decision again changes nothing. Raises NotFound, Invalid for an
    unknown scope, and Conflict when it was decided otherwise, or is over.
    """
    if scope not in SCOPES:
        raise Invalid(fields={"scope": [f"Use one of {', '.join(SCOPES)}."]})
    words = check_line(reason, field="reason", max_length=REASON_MAX_CHARACTERS)
    with transaction.atomic(durable=True):
        chat = lock_chat(Chat(pk=reply.chat_id))
        current = found(Reply.objects.select_for_update(), pk=reply.pk)
        row = _find(current, call)
        if row.status != Status.WAITING:
            return _as_decided(row, approved=approved)
        if current.is_finished or current.stop_requested_at:
            raise Conflict("This answer is over: nothing of it can be approved any more.")
        # First, as whoever takes a tool away comes from it to its calls.
        row.tool = lock_tool(row.tool_id)
        if approved and row.tool is not None and row.pinned_hash not in {"", row.tool.pinned_hash}:
            raise ServerChanged("The server offers this tool differently since this was asked for. Deny it.")
        row.decided_by, row.decided_at, row.reason = user, timezone.now(), words
        row.decision = SCOPES[scope] if approved else Decision.DENIED
        row.save(update_fields=["decided_by", "decided_at", "reason", "decision"])
        if approved:
            _approve(chat, row, scope=scope)
        else:
            # Whoever runs the reply, now or later, tells its viewers.
            row.output = {"untold": True}
            settle(chat, Result(row, Status.DENIED, _denial(words)))
        _go_on(current)
    return row


def _approve(chat: Chat, row: ToolCall, *, scope: str) -> None:
    row.status = Status.READY
    row.save(update_fields=["status"])
    if row.tool is not None and scope == "chat":
        ToolGrant.objects.update_or_create(chat=chat, tool=row.tool, defaults={"created_at": timezone.now()})
    if row.tool is not None and scope == "always":
        set_policy(chat.user, row.tool, Tool.Policy.ALLOW)


def _go_on(reply: Reply) -> None:
    """Have the reply run on, if it waits: to run what is ready, or to hear what was denied once all is decided."""
    is_ready = ToolCall.objects.filter(reply=reply, status=Status.READY).exists()
    is_open = ToolCall.objects.filter(reply=reply, status=Status.WAITING).exists()
    if reply.status == Reply.Status.WAITING and (is_ready or not is_open):
        reply.status = Reply.Status.QUEUED
        reply.save(update_fields=["status"])
        handoff.enqueue(reply.pk)
    # A run that is under way looks again; pages look for what has changed.
    transaction.on_commit(partial(doorbell.ring, "reply", reply.pk))
    transaction.on_commit(partial(doorbell.ring, "chat", reply.chat_id))


def _find(reply: Reply, call: str) -> ToolCall:
    calls = ToolCall.objects.filter(reply=reply).select_related("tool")
    call = clean_text(call)[:256]
    row = None
    with suppress(ValueError):
        row = calls.filter(pk=UUID(call)).first()
    # Models number their calls anew in each round: the latest is meant.
    row = row or calls.filter(call_id=call).order_by("-step").first()
    if row is None:
        raise NotFound("This answer has no such call.")
    return row


def _as_decided(row: ToolCall, *, approved: bool) -> ToolCall:
    was_approved = row.decision in SCOPES.values()
    was_denied = row.decision == Decision.DENIED
    if (approved and was_approved) or (not approved and was_denied):
        return row
    raise Conflict("This call does not wait for approval any more.")


def _denial(words: str) -> str:
    said = f" They said: «{words}»" if words else ""
    return f"The user did not allow this call. It was not carried out.{said}"
