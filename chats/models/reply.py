"""Reply: one attempt of the server to answer a message. It belongs to the server, not to any connection."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models.expressions import Combinable
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.catalog.models import AIModel, Price
from chats.models.chat import Chat
from chats.models.message import Message

if TYPE_CHECKING:
    from accounts.models import User


class ReplyQuerySet(models.QuerySet["Reply"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(chat__user=user, chat__deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def unfinished(self) -> Self:
        return self.filter(status__in=Reply.UNFINISHED)

    def claimable(self, stale_before: datetime | Combinable) -> Self:
        """Replies that wait for a worker, and running ones whose worker has not been heard of since `stale_before`.

        So are those that wait for approval and were told to stop: somebody has to end them.
        """
        abandoned = models.Q(status=Reply.Status.RUNNING, heartbeat_at__lt=stale_before)
        unwanted = models.Q(status=Reply.Status.WAITING, stop_requested_at__isnull=False)
        return self.filter(models.Q(status=Reply.Status.QUEUED) | abandoned | unwanted)

    def first_of_chat(self) -> Self:
        """Those before which no other of their chat is unfinished: a chat answers one after the other."""
        earlier = Reply.objects.unfinished().filter(
            chat=models.OuterRef("chat"), created_at__lt=models.OuterRef("created_at")
        )
        return self.filter(~models.Exists(earlier))

    def held_by(self, worker: str, attempt: int) -> Self:
        """The row as long as this worker still holds it: after a takeover its writes must change nothing."""
        return self.filter(status=Reply.Status.RUNNING, worker=worker, attempt=attempt)


class Reply(models.Model):
    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        WAITING = "waiting", "waiting for approval"
        COMPLETED = "completed", "completed"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"
        INCOMPLETE = "incomplete", "incomplete"
        INTERRUPTED = "interrupted", "interrupted"
        BUDGET_EXCEEDED = "budget_exceeded", "budget exceeded"

    UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.WAITING)
    CONTINUABLE = (Status.STOPPED, Status.INCOMPLETE, Status.INTERRUPTED)

    class Verb(models.TextChoices):
        SEND = "send", "send"
        EDIT = "edit", "edit"
        REGENERATE = "regenerate", "regenerate"
        ANSWER = "answer", "answer"
        CONTINUE = "continue", "continue"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="replies")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    prompt = models.ForeignKey(
        Message, on_delete=models.SET_NULL, null=True, related_name="replies", help_text="The message it answers."
    )
    message = models.OneToOneField(
        Message, on_delete=models.SET_NULL, null=True, related_name="writer", help_text="The message being written."
    )
    continues = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The unfinished one whose text it goes on from.",
    )
    kept_characters = models.PositiveIntegerField(
        default=0, help_text="Its message begins with so many of the answer it continues."
    )
    model = models.ForeignKey(AIModel, on_delete=models.SET_NULL, null=True, related_name="+")
    price = models.ForeignKey(
        Price, on_delete=models.SET_NULL, null=True, related_name="+", help_text="In force when the model was asked."
    )
    retrieval = models.JSONField(null=True, blank=True, help_text="As its chat's, when it was asked for.")
    fallback_from = models.ForeignKey(
        AIModel,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The model that did not answer, when another one answers instead.",
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    client_id = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 - NULL may repeat under the unique constraint, "" may not
    request_verb = models.CharField(
        max_length=20,
        choices=Verb.choices,
        default=Verb.SEND,
        # What a version inserts that knows of no verbs. Most are sends, and the digest tells the others.
        db_default=Verb.SEND,
        help_text="Of the request: its client_id is another one than the same under another verb.",
    )
    request_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="Of the request's body: the same client_id with another is a conflict.",
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    handovers = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Of the attempts, those that a server gave away as it was told to end."
    )
    worker = models.CharField(max_length=64, blank=True, default="")
    held_seq = models.PositiveBigIntegerField(
        default=0,
        db_default=0,
        help_text="Its snapshot_seq when its worker took it; what is beyond, this attempt wrote.",
    )
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    steps = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Rounds of tool calls so far; each has a message of its own."
    )
    snapshot_seq = models.PositiveBigIntegerField(
        default=0, help_text="The events up to this number are in the message's row."
    )
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=50, blank=True, default="")
    error_message = models.TextField(blank=True, default="", help_text="One sentence of cause, and the next step.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Reply"]] = ReplyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "replies"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "client_id", "request_verb"], name="reply_user_client_id_verb_unique"
            )
        ]
        indexes = [
            models.Index(
                fields=["status", "heartbeat_at"],
                condition=models.Q(status__in=["queued", "running", "waiting"]),
                name="reply_unfinished",
            ),
            models.Index(fields=["chat", "created_at"], name="reply_chat_created_at"),
            # For forgetting: it holds the rows of two days, however many there are.
            models.Index(
                fields=["created_at"], condition=models.Q(client_id__isnull=False), name="reply_client_id_created_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} reply of {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_finished(self) -> bool:
        return self.status not in self.UNFINISHED

    @property
    def is_at_rest(self) -> bool:
        """Whether all that was ever said of it is in its row, as when it waits for approval: no event can be lost."""
        is_waiting = self.status in {self.Status.WAITING, self.Status.QUEUED}
        return is_waiting and self.held_seq == self.snapshot_seq

    @property
    def asked_model_id(self) -> UUID | None:
        """The model that was asked for, whoever answered in the end."""
        return self.fallback_from_id or self.model_id

    @property
    def finished_seq(self) -> int:
        """The number of the event `reply.finished`, the one after the last text."""
        return self.snapshot_seq + 1
