"""Chat: one conversation of one person, a tree of messages with a current leaf."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.catalog.models import AIModel
from chats.cleaning import SPACE_MAX_LENGTH, TAG_MAX_LENGTH, TITLE_MAX_LENGTH

if TYPE_CHECKING:
    from accounts.models import User


class ChatQuerySet(models.QuerySet["Chat"]):
    def visible_to(self, user: "User") -> Self:
        """Chats this person may read. A deleted chat reads as missing."""
        return self.filter(user=user, deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def locked(self) -> Self:
        """Ours until the end of the transaction. Whoever locks rows of a chat locks the chat first."""
        # NO KEY: rows that only refer to the chat, such as the ledger's, need not wait for it.
        return self.select_for_update(no_key=True)

    def deleted_since(self, user: "User", when: datetime) -> Self:
        """Chats this person deleted after `when`, which an undo may still bring back."""
        return self.filter(user=user, deleted_at__gte=when)

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__tag=tag)

    def matching(self, words: str) -> Self:
        return self.filter(title__icontains=words)


class Chat(models.Model):
    class Verb(models.TextChoices):
        CREATE = "create", "create"
        FORK = "fork", "fork"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chats")
    title = models.CharField(max_length=TITLE_MAX_LENGTH, blank=True, default="")
    is_title_automatic = models.BooleanField(default=True, help_text="No person has named it yet.")
    space = models.CharField(max_length=SPACE_MAX_LENGTH, default="default")
    notebooks = models.JSONField(default=list, blank=True, help_text="List of strings.")
    system_prompt = models.TextField(blank=True, default="")
    model = models.ForeignKey(AIModel, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    extra_data = models.JSONField(default=dict, blank=True)
    retrieval = models.JSONField(
        null=True,
        blank=True,
        help_text='How answers use documents: {"limit": 8, "documents": [ids]}, none named: all. Empty: not at all.',
    )
    tools = models.JSONField(
        null=True,
        blank=True,
        help_text='Whose tools answers may use: {"servers": [ids]}. Empty: those of all servers that are on.',
    )
    pinned = models.BooleanField(default=False)
    archived = models.BooleanField(default=False)
    current_leaf = models.ForeignKey(
        "chats.Message", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    forked_from = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The chat its first messages were copied from.",
    )
    client_id = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001 - NULL may repeat under the unique constraint, "" may not
    request_verb = models.CharField(
        max_length=20,
        choices=Verb.choices,
        default=Verb.CREATE,
        # A version that knows of no verbs inserts client_ids for forks only.
        db_default=Verb.FORK,
        editable=False,
        help_text="Of the request: its client_id is another one than the same under another verb.",
    )
    request_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        editable=False,
        help_text="Of the request's body: the same client_id with another is a conflict.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Set by the verbs, not by save(): renaming a chat must not move it to the top of the list.
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Chat"]] = ChatQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "client_id", "request_verb"], name="chat_user_client_id_verb_unique"
            )
        ]
        indexes = [
            models.Index(
                fields=["user", "-updated_at", "-id"],
                condition=models.Q(deleted_at__isnull=True),
                name="chat_user_updated_at",
            ),
            models.Index(
                fields=["user", "space", "-updated_at"],
                condition=models.Q(deleted_at__isnull=True),
                name="chat_user_space_updated_at",
            ),
            models.Index(fields=["created_at"], name="chat_created_at"),
            # For forgetting: it holds the rows of two days, however many there are.
            models.Index(
                fields=["created_at"], condition=models.Q(client_id__isnull=False), name="chat_client_id_created_at"
            ),
        ]

    def __str__(self) -> str:
        return self.title or "New chat"


class ChatTag(models.Model):
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="tags")
    tag = models.CharField(max_length=TAG_MAX_LENGTH)

    class Meta:
        ordering = ["tag"]
        constraints = [models.UniqueConstraint(fields=["chat", "tag"], name="chattag_chat_tag_unique")]
        indexes = [models.Index(fields=["tag", "chat"], name="chattag_tag_chat")]

    def __str__(self) -> str:
        return self.tag
