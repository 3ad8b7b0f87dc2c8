"""Message: one row a message. A chat is a tree, so each names its parent."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from django.db import connection, models
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.queries import columns_of, stored
from chats.catalog.models import AIModel
from chats.models.chat import Chat
from chats.models.tree import Tree

if TYPE_CHECKING:
    from accounts.models import User


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(chat__user=user, chat__deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def with_parent_role(self) -> Self:
        """Each with `.parent_role`: who said what it stands below; None at the root."""
        return self.annotate(parent_role=models.F("parent__role"))

    def path_ids(self, leaf: UUID) -> list[UUID]:
        """Ids from the root of the tree down to `leaf`, in one query whatever the depth."""
        with connection.cursor() as cursor:
            cursor.execute(_PATH + "SELECT id FROM path ORDER BY depth DESC", [stored(Message, "id", leaf)])  # noqa: S608 - constants
            return [Message._meta.pk.to_python(row[0]) for row in cursor.fetchall()]

    def path_to(self, leaf: UUID | None, *, start: int = 0, stop: int | None = None) -> list["Message"]:
        """The messages from the root down to `leaf`, in order, or a slice of them; one query whatever the depth."""
        if leaf is None:
            return []
        length = _WHOLE if stop is None else max(0, stop - start)
        rows = _PATH + _ROWS_OF_PATH.replace("m.*", columns_of(Message, "m."))
        return list(self.raw(rows, [stored(Message, "id", leaf), length, start]))

    def end_of_path(self, leaf: UUID | None, *, characters: int, is_asked: bool = False) -> list["Message"]:
        """The last messages down to `leaf`, as many as have so many characters together; at least one.

        At least those from the last that a person said, as an answer in steps is nothing without its question; unless
        `is_asked`: what they say now comes below `leaf`.
        """
        if leaf is None:
            return []
        rows = _END_OF_PATH.replace("m.*", columns_of(Message, "m."))
        return list(self.raw(rows, [int(is_asked), stored(Message, "id", leaf), characters]))

    def has_words_of_others(self, leaf: UUID) -> bool:
        """Whether passages of documents, or results of tools that are not Parley's own words, are on the way to `leaf`.

        In doubt they are.
        """
        with connection.cursor() as cursor:
            cursor.execute(_PATH + _WORDS_OF_OTHERS, [stored(Message, "id", leaf)])
            return cursor.fetchone() is not None

    def tree(self, chat: Chat) -> Tree:
        """The shape of a chat, in one query.

        Looking downwards in the database would be one look at an index a level, and PostgreSQL, which takes a message
        without statistics for the parent of hundreds, reads the whole table at each level instead.
        """
        return Tree(self.filter(chat=chat).order_by("created_at", "id").values_list("pk", "parent", "chosen_child"))

    def sibling_ids(self, messages: Iterable["Message"]) -> dict[UUID | None, list[UUID]]:
        """By parent, the ids of these messages' siblings and their own, oldest first; one query."""
        members = list(messages)
        siblings: dict[UUID | None, list[UUID]] = {message.parent_id: [] for message in members}
        if members:
            same = models.Q(parent__in=[parent for parent in siblings if parent])
            if None in siblings:
                same |= models.Q(parent__isnull=True, chat=members[0].chat_id)
            for pk, parent in self.filter(same).order_by("created_at", "id").values_list("pk", "parent"):
                siblings[parent].append(pk)
        return siblings

    def remember_path(self, leaf: UUID) -> None:
        """Note at every fork above `leaf` which way leads to it, for whoever comes back. The chat is locked."""
        with connection.cursor() as cursor:
            cursor.execute(_PATH + _FORGOTTEN_WAYS, [stored(Message, "id", leaf)])
            cursor.executemany("UPDATE chats_message SET chosen_child_id = %s WHERE id = %s", cursor.fetchall())


_WHOLE = 2**31  # longer than any path
_PATH = """
    WITH RECURSIVE path(id, parent_id, depth) AS (
        SELECT id, parent_id, 0 FROM chats_message WHERE id = %s
        UNION ALL
        SELECT m.id, m.parent_id, path.depth + 1 FROM chats_message m JOIN path ON m.id = path.parent_id
    )
"""
_ROWS_OF_PATH = """
    SELECT m.* FROM (SELECT id, depth FROM path ORDER BY depth DESC LIMIT %s OFFSET %s) AS place
    JOIN chats_message m ON m.id = place.id ORDER BY place.depth DESC
"""
# The content of a result is in both of its columns.
_SIZE = """
    LENGTH({0}.content) + LENGTH(CAST({0}.tool_calls AS TEXT))
    + CASE WHEN {0}.content = '' THEN LENGTH(CAST({0}.tool_results AS TEXT)) ELSE 0 END
"""
_TURN_MAX = 1_000  # messages of one answer in steps, and more than one may have
_IS_QUESTION = "CASE WHEN {0}.role = 'user' THEN 1 ELSE 0 END"
_WORDS_OF_OTHERS = """
    SELECT 1 FROM path JOIN chats_message m ON m.id = path.id
    WHERE CAST(m.sources AS TEXT) <> '[]' OR (
        m.role = 'tool' AND (m.is_imported OR CAST(m.tool_results AS TEXT) NOT LIKE '%%"is_own": true%%')
    )
    LIMIT 1
"""
# Sizes are added up on the way, so that nothing of a chat that is too long is read.
_END_OF_PATH = f"""
    WITH RECURSIVE path(id, parent_id, depth, size, questions) AS (
        SELECT l.id, l.parent_id, 0, {_SIZE.format("l")}, %s + {_IS_QUESTION.format("l")}
        FROM chats_message l WHERE l.id = %s
        UNION ALL
        SELECT m.id, m.parent_id, path.depth + 1, path.size + {_SIZE.format("m")},
            path.questions + {_IS_QUESTION.format("m")}
        FROM chats_message m JOIN path ON m.id = path.parent_id
        WHERE (path.questions = 0 AND path.depth < {_TURN_MAX}) OR path.size + {_SIZE.format("m")} <= %s
    )
    SELECT m.* FROM path JOIN chats_message m ON m.id = path.id ORDER BY path.depth DESC
"""  # noqa: S608 - constants
_FORGOTTEN_WAYS = """
    SELECT path.id, p.id FROM path JOIN chats_message p ON p.id = path.parent_id
    WHERE (p.chosen_child_id IS NULL OR p.chosen_child_id <> path.id)
        AND EXISTS (SELECT 1 FROM chats_message s WHERE s.parent_id = p.id AND s.id <> path.id)
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
    chosen_child = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        db_index=False,  # see Meta
        help_text="Of several, the one last seen; null: the newest.",
    )
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

    parent_role: str | None  # of with_parent_role()

    objects: ClassVar[models.Manager["Message"]] = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["chat", "created_at", "id"], name="message_chat_created_at"),
            models.Index(fields=["created_at"], name="message_created_at"),
            # Few messages have several children, so most cost nothing here.
            models.Index(
                fields=["chosen_child"],
                condition=models.Q(chosen_child__isnull=False),
                name="message_chosen_child",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:60]}"
