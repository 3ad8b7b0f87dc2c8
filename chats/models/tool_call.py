"""ToolCall: one call that a model has asked for, from before it begins to its result.

Its rows are the audit of who allowed what.
"""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.models.chat import Chat
from chats.models.message import Message
from chats.models.reply import Reply
from chats.tools.models import Tool

if TYPE_CHECKING:
    from accounts.models import User


class ToolCallQuerySet(models.QuerySet["ToolCall"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(reply__chat__user=user, reply__chat__deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def unsettled(self) -> Self:
        return self.filter(status__in=ToolCall.UNSETTLED)


class ToolCall(models.Model):
    class Status(models.TextChoices):
        WAITING = "waiting", "waiting for approval"
        READY = "ready", "about to run"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        DENIED = "denied", "denied"
        REFUSED = "refused", "refused"
        UNKNOWN = "unknown", "outcome unknown"
        STOPPED = "stopped", "stopped"

    UNSETTLED = (Status.WAITING, Status.READY, Status.RUNNING)

    BEGUN = (Status.RUNNING, Status.DONE, Status.FAILED, Status.UNKNOWN)

    class Decision(models.TextChoices):
        POLICY = "policy", "its policy allows it"
        CHAT = "chat", "allowed for this chat"
        ONCE = "once", "approved once"
        FOR_CHAT = "for_chat", "approved, and for this chat from now on"
        ALWAYS = "always", "approved, and always from now on"
        DENIED = "denied", "denied"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    reply = models.ForeignKey(Reply, on_delete=models.CASCADE, related_name="calls")
    message = models.ForeignKey(
        Message, on_delete=models.SET_NULL, null=True, related_name="calls", help_text="The step that asked for it."
    )
    result_message = models.OneToOneField(
        Message, on_delete=models.SET_NULL, null=True, blank=True, related_name="result_of"
    )
    step = models.PositiveSmallIntegerField(help_text="Which round of calls of its reply, from 1.")
    index = models.PositiveSmallIntegerField(help_text="Its place in the round, from 0.")
    call_id = models.CharField(max_length=256, help_text="As the model and its provider know it.")
    tool = models.ForeignKey(Tool, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=256, help_text="As the model called it.")
    title = models.CharField(max_length=200, blank=True, default="")
    server_name = models.CharField(max_length=100, blank=True, default="")
    arguments = models.TextField(blank=True, default="", help_text="JSON text, as the model wrote it.")
    is_read_only = models.BooleanField(default=False)
    pinned_hash = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="Of the tool, as it was when this was asked for.",
    )
    status = models.CharField(max_length=10, choices=Status.choices)
    because = models.CharField(max_length=300, blank=True, default="", help_text="Why its person is asked.")
    decision = models.CharField(max_length=10, choices=Decision.choices, blank=True, default="")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True, default="", help_text="The person's words to the model.")
    output = models.JSONField(
        default=dict, blank=True, help_text="What it answered, for people: parts, structured, is_cut, sources."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ToolCall"]] = ToolCallQuerySet.as_manager()

    class Meta:
        ordering = ["reply", "step", "index"]
        constraints = [
            models.UniqueConstraint(fields=["reply", "step", "index"], name="toolcall_reply_step_index_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"

    @property
    def is_settled(self) -> bool:
        return self.status not in self.UNSETTLED

    @property
    def seconds(self) -> float | None:
        """How long it took; None before it is over."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


class ToolGrant(models.Model):
    """One person lets one tool run in one chat without being asked again."""

    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="grants")
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chat", "tool"], name="toolgrant_chat_tool_unique")]

    def __str__(self) -> str:
        return f"{self.tool} in {self.chat}"
