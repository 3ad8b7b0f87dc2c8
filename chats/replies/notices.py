"""What lists of chats hear: how a chat stands now, which chats are answering, and which wait for their person."""

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
    """How a chat stands, for its person only. `event` is `chat.changed`, or `chat.deleted`.

    `is_waiting`: what is answering there goes on once its person has approved a call, or denied it.
    """

    user_id: UUID
    chat_id: UUID
    is_answering: bool
    is_waiting: bool
    event: dict[str, Any]


def notices_of(chat_ids: Collection[UUID]) -> list[Notice]:
    """How these chats stand, whosever they are, in one query. Those that are gone for good are left out."""
    running = Reply.objects.unfinished().filter(chat=OuterRef("pk"))
    states = {"is_answering": Exists(running), "is_waiting": Exists(running.filter(status=Reply.Status.WAITING))}
    chats = Chat.objects.filter(pk__in=chat_ids).annotate(**states).order_by()
    return [_notice(**row) for row in chats.values(*_FIELDS, *states, "user_id", "deleted_at")]


def answering_chats(users: Collection[UUID]) -> dict[UUID, bool]:
    """The chats of these people in which a reply is unfinished; true where it waits for its person to decide."""
    replies = Reply.objects.unfinished().filter(chat__user__in=users, chat__deleted_at__isnull=True)
    chats: dict[UUID, bool] = {}
    for chat_id, status in replies.order_by().values_list("chat_id", "status"):
        chats[chat_id] = chats.get(chat_id, False) or status == Reply.Status.WAITING
    return chats


def _notice(*, user_id: UUID, deleted_at: Any, is_answering: bool, is_waiting: bool, **chat: Any) -> Notice:
    chat_id = chat["id"]
    if deleted_at is not None:
        event = {"type": "chat.deleted", "chat": str(chat_id)}
        return Notice(user_id, chat_id, is_answering=False, is_waiting=False, event=event)
    leaf = chat.pop("current_leaf_id")
    shown = {
        **chat,
        "id": str(chat_id),
        "updated_at": moment(chat["updated_at"]),
        "current_leaf": str(leaf) if leaf else None,
        "is_answering": is_answering,
        "is_waiting": is_waiting,
    }
    return Notice(user_id, chat_id, is_answering, is_waiting, event={"type": "chat.changed", "chat": shown})
