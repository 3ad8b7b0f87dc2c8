"""What lists of chats hear: how a chat stands now, and which chats are answering."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import Exists, OuterRef

from chats.models import Chat, Reply
from chats.replies.present import moment

_FIELDS: Final = ("id", "title", "space", "pinned", "archived", "updated_at", "current_leaf_id")


@dataclass(frozen=True)
class Notice:
    """How a chat stands, for its person only. `event` is `chat.changed`, or `chat.deleted`."""

    user_id: UUID
    chat_id: UUID
    is_answering: bool
    event: dict[str, Any]


def notices_of(chat_ids: Collection[UUID]) -> list[Notice]:
    """How these chats stand, whosever they are, in one query. Those that are gone for good are left out."""
    running = Reply.objects.unfinished().filter(chat=OuterRef("pk"))
    chats = Chat.objects.filter(pk__in=chat_ids).annotate(is_answering=Exists(running)).order_by()
    return [_notice(**row) for row in chats.values(*_FIELDS, "is_answering", "user_id", "deleted_at")]


def answering_chats(users: Collection[UUID]) -> set[UUID]:
    """The chats of these people in which a reply is being written or waits its turn."""
    replies = Reply.objects.unfinished().filter(chat__user__in=users, chat__deleted_at__isnull=True)
    return set(replies.order_by().values_list("chat_id", flat=True))


def _notice(*, user_id: UUID, deleted_at: Any, is_answering: bool, **chat: Any) -> Notice:
    chat_id = chat["id"]
    if deleted_at is not None:
        return Notice(user_id, chat_id, is_answering=False, event={"type": "chat.deleted", "chat": str(chat_id)})
    leaf = chat.pop("current_leaf_id")
    shown = {
        **chat,
        "id": str(chat_id),
        "updated_at": moment(chat["updated_at"]),
        "current_leaf": str(leaf) if leaf else None,
        "is_answering": is_answering,
    }
    return Notice(user_id, chat_id, is_answering, event={"type": "chat.changed", "chat": shown})
