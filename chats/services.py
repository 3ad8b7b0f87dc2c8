"""The verbs on conversations. Each is one durable transaction and tells who waits once it is committed.

Verbs lock the chat's row first, so that whatever happens in one chat at the same time leaves a valid tree.
`lock_chat` and the `insert_...` verbs are for other rooms, which hold a transaction already. The verbs on whole
branches are in `chats.branches`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.queries import Prepared, found, one_or_none
from chats import cleaning, doorbell
from chats.catalog.models import AIModel
from chats.cleaning import check_text, title_from
from chats.errors import Invalid, NotFound, ReplyRunning
from chats.knowledge.services import delete_documents_of_chat, restore_documents_of_chat
from chats.models import Chat, ChatTag, Message, Reply
from chats.once import chat_once, digest_of
from chats.tool_use import check_tools, clean_tools

__all__ = [
    "announce",
    "append_message",
    "change_message",
    "check_text",
    "create_chat",
    "create_chat_once",
    "delete_chat",
    "delete_message",
    "insert_chat",
    "insert_message",
    "insert_messages",
    "lock_chat",
    "lock_chat_of",
    "lock_message",
    "request_stop",
    "restore_chat",
    "tags_of",
    "title_from",
    "update_chat",
    "write_fields",
]


# ---------------------------------------------------------------- chats
def create_chat(user: User, **fields: Any) -> Chat:
    """A new chat of `user`.

    Fields: title, space, tags, notebooks, system_prompt, model, tools, extra_data, pinned, archived.

    Raises Invalid or TooLarge when a field is beyond its limits.
    """
    return create_chat_once(user, **fields)[0]


def create_chat_once(user: User, *, client_id: str | None = None, **fields: Any) -> tuple[Chat, bool]:
    """As `create_chat`, and whether it was made just now: the same `client_id` again gives the same chat.

    Raises Conflict when it came with another body, NotFound when that chat was deleted.
    """
    return chat_once(user, client_id, Chat.Verb.CREATE, _digest_of(fields), lambda: insert_chat(user, **fields))


def _digest_of(fields: Mapping[str, Any]) -> str:
    """Of what a new chat is made of, as it will be stored."""
    cleaners = {**_CHAT_CLEANERS, "tags": _clean_tags, "model": lambda model: model and str(model.pk)}
    return digest_of("create", fields=_cleaned(fields, cleaners))


def insert_chat(user: User, *, pk: UUID | None = None, tags: Iterable[str] = (), **fields: Any) -> Chat:
    """As `create_chat`, within the caller's transaction; with the id `pk`, if something names it already."""
    cleaned = _cleaned(fields, _CHAT_CLEANERS)
    check_tools(user, cleaned.get("tools"))
    chat = Chat(pk=pk or uuid7(), user=user, is_title_automatic=not cleaned.get("title"), **cleaned)
    chat.save(force_insert=True)
    _set_tags(chat, _clean_tags(tags))
    announce(chat)
    return chat


def update_chat(chat: Chat, **changes: Any) -> Chat:
    """Write only the named fields: those of `create_chat`, and current_leaf, the id of a message to go to.

    A title given here is a person's and stays. Raises Invalid for a message of another chat, and for a server of tools
    that its person may not see.
    """
    goal = changes.pop("current_leaf", None)
    tags = _clean_tags(changes.pop("tags")) if "tags" in changes else None
    cleaned = _cleaned(changes, _CHAT_CLEANERS)
    if "title" in cleaned:
        cleaned["is_title_automatic"] = not cleaned["title"]
    with transaction.atomic(durable=True):
        locked = lock_chat(chat)
        check_tools(locked.user, cleaned.get("tools"))
        if goal is not None:
            cleaned["current_leaf_id"] = _go_to(locked, goal)
        write_fields(locked, cleaned)
        if tags is not None:
            _set_tags(locked, tags)
        announce(locked)
    return locked


def _go_to(chat: Chat, message_id: UUID) -> UUID:
    """The end of that message's branch: the one last seen there, or else the newest."""
    tree = Message.objects.tree(chat)
    if message_id not in tree:
        raise Invalid(fields={"current_leaf": ["This message is not in this chat."]})
    leaf = tree.leaf_below(message_id)
    Message.objects.remember_path(leaf)
    return leaf


def delete_chat(chat: Chat) -> None:
    """Put the chat away with its own documents; `restore_chat` brings all back for CHAT_UNDO_SECONDS.

    Its running replies end.
    """
    with transaction.atomic(durable=True):
        locked = lock_chat(chat)
        write_fields(locked, {"deleted_at": timezone.now()})
        delete_documents_of_chat(locked.user_id, locked.pk)
        request_stop(Q(chat=locked))
        announce(locked)


def restore_chat(user: User, chat_id: UUID) -> Chat:
    """Undo `delete_chat`; a chat that is not deleted stays as it is. Raises NotFound after CHAT_UNDO_SECONDS."""
    since = timezone.now() - timedelta(seconds=settings.CHAT_UNDO_SECONDS)
    with transaction.atomic(durable=True):
        mine = Chat.objects.visible_to(user) | Chat.objects.deleted_since(user, since)
        chat = one_or_none(mine.locked(), pk=chat_id)
        if chat is None:
            raise NotFound("This chat can't be brought back any more.")
        if chat.deleted_at is not None:
            restore_documents_of_chat(chat.user_id, chat.pk)
        write_fields(chat, {"deleted_at": None})
        announce(chat)
    return chat


def lock_chat(chat: Chat) -> Chat:
    """The chat as it stands, ours until the end of the transaction. Raises NotFound when it is deleted."""
    return found(Chat.objects.locked(), pk=chat.pk, deleted_at__isnull=True)


def lock_chat_of(user: User, chat_id: UUID) -> Chat:
    """As `lock_chat`, if it is one that this person may change. Raises NotFound otherwise."""
    chat = _LOCKED_OF.first(user.pk, chat_id)
    if chat is None:
        raise NotFound
    return chat


_LOCKED_OF = Prepared(lambda user, pk: Chat.objects.editable_by(User(pk=user)).filter(pk=pk).locked())


def tags_of(chat_ids: Collection[UUID]) -> dict[UUID, list[str]]:
    """The tags of each of these chats in their order, in one query. Whose chats they are is the caller's care."""
    tags: dict[UUID, list[str]] = {pk: [] for pk in chat_ids}
    if tags:
        for chat_id, tag in ChatTag.objects.filter(chat__in=tags).values_list("chat_id", "tag"):
            tags[chat_id].append(tag)
    return tags


# ---------------------------------------------------------------- messages
def append_message(chat: Chat, *, role: str, parent: Message | None = None, **fields: Any) -> Message:
    """Add to the history without asking a model, below `parent` or else at the end of the current branch.

    Fields: content, tool_calls, tool_results, sources, extra_data, model. Raises Invalid for a parent of another chat.
    """
    with transaction.atomic(durable=True):
        locked = lock_chat(chat)
        if parent is not None and not locked.messages.filter(pk=parent.pk).exists():
            raise Invalid(fields={"parent": ["This message is not in the same chat."]})
        parent_id = parent.pk if parent else locked.current_leaf_id
        return insert_message(locked, role=role, parent_id=parent_id, is_imported=True, **fields)


def insert_message(
    chat: Chat,
    *,
    role: str,
    parent_id: UUID | None,
    is_imported: bool = False,
    reply: Reply | None = None,
    **fields: Any,
) -> Message:
    """As `append_message`, within the caller's transaction and with `chat` locked. It becomes the current leaf."""
    cleaned = _cleaned({"role": role, **fields}, _MESSAGE_CLEANERS)
    message = Message(chat=chat, parent_id=parent_id, is_imported=is_imported, reply=reply, **cleaned)
    insert_messages(chat, [message])
    return message


def insert_messages(chat: Chat, messages: Sequence[Message], **chat_changes: Any) -> None:
    """Store messages whose text is checked, each below the one before, in a transaction that has locked `chat`.

    The last becomes the current leaf.
    """
    leaf = messages[-1]
    is_elsewhere = messages[0].parent_id != chat.current_leaf_id
    Message.objects.bulk_create(messages)
    write_fields(chat, {**chat_changes, "current_leaf": leaf, "updated_at": leaf.created_at})
    if is_elsewhere:
        # At the end of the branch in view every way is known already.
        Message.objects.remember_path(leaf.pk)
    announce(chat)


def change_message(message: Message, **changes: Any) -> Message:
    """Change a message in place: role and the fields of `append_message`. Raises ReplyRunning while it is written."""
    cleaned = _cleaned(changes, _MESSAGE_CLEANERS)
    with transaction.atomic(durable=True):
        locked = lock_message(message)
        if Reply.objects.unfinished().filter(Q(message=locked) | Q(messages=locked)).exists():
            raise ReplyRunning
        write_fields(locked, {**cleaned, "updated_at": timezone.now()})
        announce(locked.chat)
    return locked


def delete_message(message: Message) -> None:
    """Take one message out; what followed it moves up to its parent. A reply that writes or answers it ends."""
    with transaction.atomic(durable=True):
        locked = lock_message(message)
        chat = locked.chat
        request_stop(Q(message=locked) | Q(messages=locked) | Q(prompt=locked))
        locked.children.update(parent=locked.parent_id)
        if chat.current_leaf_id == locked.pk:
            write_fields(chat, {"current_leaf_id": locked.parent_id})
        locked.delete()
        if chat.current_leaf_id:
            # What moved up has new siblings.
            Message.objects.remember_path(chat.current_leaf_id)
        announce(chat)


def lock_message(message: Message) -> Message:
    """The message as it stands, with its chat locked. Raises NotFound when either is deleted."""
    chat = lock_chat(Chat(pk=message.chat_id))
    locked = one_or_none(chat.messages.all(), pk=message.pk)
    if locked is None:
        raise NotFound("This message was deleted.")
    locked.chat = chat
    return locked


# ---------------------------------------------------------------- what both share
def write_fields(row: Chat | Message, fields: Mapping[str, Any]) -> None:
    """Change these fields of a row that is locked, and no others."""
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))


def _set_tags(chat: Chat, tags: Sequence[str]) -> None:
    chat.tags.exclude(tag__in=tags).delete()
    ChatTag.objects.bulk_create([ChatTag(chat=chat, tag=tag) for tag in tags], ignore_conflicts=True)


def request_stop(which: Q) -> None:
    """Ask the running replies that are so to stop, once the transaction is committed."""
    # The engine closes the provider's connection when it sees the mark; the ring only makes it look at once.
    replies = Reply.objects.unfinished().filter(which)
    for pk in set(replies.values_list("pk", flat=True)):
        Reply.objects.filter(pk=pk, stop_requested_at__isnull=True).update(stop_requested_at=timezone.now())
        transaction.on_commit(partial(doorbell.ring, "reply", pk))


def announce(chat: Chat) -> None:
    """Tell who waits for news of this chat, once the transaction is committed."""
    transaction.on_commit(partial(doorbell.ring, "chat", chat.pk))


def _clean_role(role: str) -> str:
    if role not in Message.Role.values:
        raise Invalid(fields={"role": [f"Use one of {', '.join(Message.Role.values)}."]})
    return role


def _clean_list(value: Sequence[Any], field: str) -> Any:
    return cleaning.check_json(list(value), field=field, max_bytes=settings.MESSAGE_MAX_BYTES)


def _clean_extra_data(value: Mapping[str, Any] | None) -> Any:
    return cleaning.check_json(dict(value or {}), field="extra_data", max_bytes=cleaning.EXTRA_DATA_MAX_BYTES)


def _clean_tags(tags: Iterable[str]) -> list[str]:
    return cleaning.check_lines(tags, field="tags", max_count=cleaning.TAGS_MAX, max_length=cleaning.TAG_MAX_LENGTH)


def _clean_notebooks(notebooks: Iterable[str]) -> list[str]:
    return cleaning.check_lines(
        notebooks, field="notebooks", max_count=cleaning.NOTEBOOKS_MAX, max_length=cleaning.NOTEBOOK_MAX_LENGTH
    )


def _clean_space(space: str) -> str:
    return cleaning.check_line(space, field="space", max_length=cleaning.SPACE_MAX_LENGTH) or "default"


def _same_model(model: AIModel | None) -> AIModel | None:
    return model


_Cleaners = Mapping[str, Callable[[Any], Any]]
_CHAT_CLEANERS: _Cleaners = {
    "title": partial(cleaning.check_line, field="title", max_length=cleaning.TITLE_MAX_LENGTH),
    "space": _clean_space,
    "notebooks": _clean_notebooks,
    "system_prompt": partial(check_text, field="system_prompt"),
    "model": _same_model,
    "tools": clean_tools,
    "extra_data": _clean_extra_data,
    "pinned": bool,
    "archived": bool,
}
_MESSAGE_CLEANERS: _Cleaners = {
    "role": _clean_role,
    "content": check_text,
    "tool_calls": partial(_clean_list, field="tool_calls"),
    "tool_results": partial(_clean_list, field="tool_results"),
    "sources": partial(_clean_list, field="sources"),
    "extra_data": _clean_extra_data,
    "model": _same_model,
}


def _cleaned(fields: Mapping[str, Any], cleaners: _Cleaners) -> dict[str, Any]:
    """Only named fields can be written: a name without a cleaner is a mistake of the caller."""
    return {name: cleaners[name](value) for name, value in fields.items()}
