"""Message: one row a message. A chat is a tree, so each names its parent."""

from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from django.db import connection, models
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.queries import stored
from chats.catalog.models import AIModel
from chats.models.chat import Chat

if TYPE_CHECKING:
    from accounts.models import User


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(chat__user=user, chat__deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def path_ids(self, leaf: UUID) -> list[UUID]:
        """Ids from the root of the tree down to `leaf`, in one query whatever the depth."""
        with connection.cursor() as cursor:
            cursor.execute(_PATH + "SELECT id FROM path ORDER BY depth DESC", [stored(Message, "id", leaf)])  # noqa: S608 - constants
            return [Message._meta.pk.to_python(row[0]) for row in cursor.fetchall()]

    def path_to(self, leaf: UUID | None) -> list["Message"]:
        """The messages from the root down to `leaf`, in order, in one query whatever the depth."""
        if leaf is None:
            return []
        whole_rows = "SELECT m.* FROM path JOIN chats_message m ON m.id = path.id ORDER BY path.depth DESC"
        return list(self.raw(_PATH + whole_rows, [stored(Message, "id", leaf)]))


_PATH = """
    WITH RECURSIVE path(id, parent_id, depth) AS (
        SELECT id, parent_id, 0 FROM chats_message WHERE id = %s
        UNION ALL
        SELECT m.id, m.parent_id, path.depth + 1 FROM chats_message m JOIN path ON m.id = path.parent_id
    )
"""


class Message(models.Model):
    class Role(models.TextChoices):
        USER = "user", "user"
        ASSISTANT = "assistant", "assistant"
        SYSTEM = "system", "system"
        TOOL = "tool", "tool"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    reply = models.ForeignKey(
        "chats.Reply", on_delete=models.SET_NULL, null=True, blank=True, related_name="messages", editable=False
    )
    role = models.CharField(max_length=20, choices=Role.choices)
    content = models.TextField(blank=True, default="")
    reasoning = models.TextField(blank=True, default="")
    tool_calls = models.JSONField(default=list, blank=True)
    tool_results = models.JSONField(default=list, blank=True)
    sources = models.JSONField(default=list, blank=True)
    attachments = models.JSONField(default=list, blank=True)
    extra_data = models.JSONField(default=dict, blank=True)
    model = models.ForeignKey(AIModel, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    notice = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="One sentence on how it came about, such as that another model answered.",
    )
    is_imported = models.BooleanField(default=False, help_text="Written through the API; no model was asked.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Message"]] = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["chat", "created_at", "id"], name="message_chat_created_at"),
            models.Index(fields=["created_at"], name="message_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:60]}"
