"""The verbs on branches of a chat: delete one, or take it into a chat of its own. As in `chats.services`, each is one
durable transaction that locks the chat first, and tells who waits once it is committed.
"""

import re
from collections.abc import Sequence
from itertools import count
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.queries import stored
from chats.cleaning import TITLE_MAX_LENGTH
from chats.errors import ReplyRunning
from chats.models import Chat, Message
from chats.once import chat_once, digest_of
from chats.services import announce, insert_chat, lock_message, request_stop, tags_of, write_fields


def delete_branch(message: Message) -> int:
    """Delete `message` with all that follows it; replies that write there end. Returns how many messages went.

    The current leaf, when it was there, goes to the end of the sibling before it, else after it, else to the parent.
    """
    with transaction.atomic(durable=True):
        locked = lock_message(message)
        chat = locked.chat
        tree = Message.objects.tree(chat)
        gone = set(tree.branch(locked.pk))
        running = chat.replies.unfinished().values_list("pk", "prompt", "message")
        request_stop(Q(pk__in=[pk for pk, *written in running if gone.intersection(written)]))
        if chat.current_leaf_id in gone:
            neighbour = _neighbour(locked.pk, tree.children_of(locked.parent_id))
            write_fields(chat, {"current_leaf_id": tree.leaf_below(neighbour) if neighbour else locked.parent_id})
        # All of them at once: level by level the ORM would need a query and a stack frame for each.
        chat.messages.filter(pk__in=gone).delete()
        if chat.current_leaf_id:
            Message.objects.remember_path(chat.current_leaf_id)
        announce(chat)
    return len(gone)


def fork_chat(
    user: User, message: Message, *, title: str | None = None, client_id: str | None = None
) -> tuple[Chat, bool]:
    """A new chat of `user` with copies of the messages down to `message`, and whether it was made just now.

    It has the same model, space, system prompt, notebooks, tags and use of documents and tools; unless one is given,
    its title is that of the chat with «(fork)», and a number when there is one already. The server's attempts to answer
    stay where they are. The same `client_id` again gives the same chat. Raises Conflict when it came with another body,
    ReplyRunning when one of the messages is being written, NotFound and Invalid.
    """
    digest = digest_of("fork", subject=message.pk, content=title)
    return chat_once(user, client_id, Chat.Verb.FORK, digest, lambda: _fork(user, lock_message(message), title))


def _neighbour(pk: UUID, siblings: Sequence[UUID]) -> UUID | None:
    place = siblings.index(pk)
    if place:
        return siblings[place - 1]
    return siblings[1] if len(siblings) > 1 else None


def _fork(user: User, end: Message, title: str | None) -> Chat:
    source = end.chat
    path = Message.objects.path_ids(end.pk)
    # A copy would end in mid-sentence for good, and look whole: its writer stays behind.
    if _being_written(source).intersection(path):
        raise ReplyRunning
    chat = insert_chat(
        user,
        title=title or _fork_title(user, source.title),
        space=source.space,
        system_prompt=source.system_prompt,
        notebooks=source.notebooks,
        model=source.model,
        tags=tags_of([source.pk])[source.pk],
    )
    leaf = _copy(path, chat)
    is_automatic = source.is_title_automatic and not title
    kept = {"forked_from": source, "is_title_automatic": is_automatic}
    kept |= {"retrieval": source.retrieval, "tools": source.tools}
    write_fields(chat, {**kept, "current_leaf_id": leaf})
    return chat


def _being_written(chat: Chat) -> set[UUID]:
    running = chat.replies.unfinished()
    return set(chat.messages.filter(Q(writer__in=running) | Q(reply__in=running)).values_list("pk", flat=True))


def _fork_title(user: User, title: str) -> str:
    """`title` with the first of «(fork)», «(fork 2)» and so on that is free among this person's chats; "" for ""."""
    if not title:
        return ""
    # A fork of a fork is told from its siblings by its number, not by a tail that grows.
    name = _FORK_MARK.sub("", title)
    taken = set(Chat.objects.visible_to(user).filter(title__contains="(fork").values_list("title", flat=True))
    marks = (f" (fork {number})" if number > 1 else " (fork)" for number in count(1))
    return next(found for mark in marks if (found := name[: TITLE_MAX_LENGTH - len(mark)] + mark) not in taken)


COPIED_AT_ONCE = 500
_FORK_MARK = re.compile(r" \(fork(?: \d+)?\)$")
_NEW = ("id", "chat_id", "parent_id")
_LEFT = ("reply_id", "chosen_child_id")


def _copy(path: Sequence[UUID], chat: Chat) -> UUID:
    """Copies of the messages of a path, as a path of `chat`; returns the last. The texts stay in the database."""
    kept = [field.column for field in Message._meta.concrete_fields if field.column not in _NEW + _LEFT]
    columns = ", ".join(f'"{column}"' for column in kept)
    copies = [uuid7() for _ in path]
    rows = list(zip(copies, [None, *copies], path, strict=False))
    # A column that begins with NULL has no type of its own in PostgreSQL.
    mark = "%s::uuid" if connection.vendor == "postgresql" else "%s"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), COPIED_AT_ONCE):
            some = rows[start : start + COPIED_AT_ONCE]
            copy = f"""
                WITH copies(id, parent_id, original) AS (VALUES {", ".join([f"({mark}, {mark}, {mark})"] * len(some))})
                INSERT INTO chats_message ({", ".join(_NEW)}, {columns})
                SELECT copies.id, {mark}, copies.parent_id, {", ".join(f'm."{column}"' for column in kept)}
                FROM copies JOIN chats_message m ON m.id = copies.original
            """  # noqa: S608 - constants
            values = [*(pk for row in some for pk in row), chat.pk]
            cursor.execute(copy, [pk and stored(Message, "id", pk) for pk in values])
    return copies[-1]
