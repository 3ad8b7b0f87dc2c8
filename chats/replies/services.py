"""Verbs on replies. Every interface starts, retries and stops through these."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import limits
from accounts.models import User
from accounts.queries import stored
from chats import doorbell
from chats.catalog.models import AIModel
from chats.catalog.services import usable_model
from chats.errors import Conflict, Invalid, NotFound, TooMany
from chats.models import Chat, Message, Reply
from chats.replies import handoff, rows
from chats.services import check_text, insert_chat, insert_messages, lock_chat, lock_chat_among, title_from

CLIENT_ID_MAX_CHARACTERS = 64
# By hand, as every send asks: the ORM takes longer to write these than the database to answer them.
_OF_CLIENT_ID = "SELECT id FROM chats_reply WHERE user_id = %s AND client_id = %s"
_UNFINISHED_OF = """
    SELECT id, chat_id FROM chats_reply WHERE user_id = %s AND status IN ('queued', 'running', 'waiting') LIMIT %s
"""


@dataclass(frozen=True)
class StartedReply:
    """`message` is the person's, `answer` the model's, empty or on its way; `created` is false for a repeated send."""

    chat: Chat
    message: Message
    reply: Reply
    answer: Message
    created: bool


@dataclass(frozen=True)
class _Request:
    """Who asks, under which id of his own, and what its body was: the same id may not come with another."""

    user: User
    client_id: str | None
    digest: str


def start_reply(
    user: User,
    *,
    content: str,
    chat_id: UUID | None = None,
    model: str | None = None,
    client_id: str | None = None,
    **chat_fields: Any,
) -> StartedReply:
    """Store what a person says and start the answer to it; without `chat_id`, in a new one made of `chat_fields`.

    The same `client_id` again gives the same answer. Raises Conflict when it came with another body, Invalid, TooLarge,
    ModelUnavailable, NotFound and TooMany; then nothing is stored.
    """
    text = check_text(content)
    if not text.strip():
        raise Invalid("Write something first.", fields={"content": ["This may not be empty."]})
    request = _Request(user, client_id, digest=_digest("send", subject=chat_id, content=content, model=model))

    def write() -> Reply:
        if chat_id is None:
            chosen = usable_model(user, model)
            chat = insert_chat(user, model=chosen, **chat_fields)
        else:
            chat = lock_chat_among(Chat.objects.editable_by(user), chat_id)
            chosen = usable_model(user, model or _named(chat.model_id))
        prompt = Message(chat=chat, parent_id=chat.current_leaf_id, role=Message.Role.USER, content=text)
        title = chat.title or (title_from(text) if chat.is_title_automatic else "")
        return _insert_reply(request, prompt, new=[prompt], model=chosen, title=title)

    return _write_once(request, write)


def retry_reply(reply: Reply, *, model: str | None = None, client_id: str | None = None) -> StartedReply:
    """Answer the same message again, beside the earlier answer. Raises as `start_reply`, and Conflict while it runs."""
    request = _Request(reply.user, client_id, digest=_digest("retry", subject=reply.pk, content=None, model=model))

    def write() -> Reply:
        chat = lock_chat(reply.chat)
        current = Reply.objects.select_related("prompt").get(pk=reply.pk)
        if not current.is_finished:
            raise Conflict("This answer is still being written. Stop it first.")
        if current.prompt is None:
            raise NotFound("The message to answer was deleted.")
        current.prompt.chat = chat
        chosen = usable_model(reply.user, model or _named(reply.asked_model_id))
        return _insert_reply(request, current.prompt, new=[], model=chosen)

    return _write_once(request, write)


def stop_reply(reply: Reply) -> Reply:
    """Ask the reply to stop, as often as one likes; a finished one stays as it ended. Its text so far is kept."""
    with transaction.atomic(durable=True):
        current = Reply.objects.select_for_update().get(pk=reply.pk)
        if not current.is_finished and current.stop_requested_at is None:
            current.stop_requested_at = timezone.now()
            current.save(update_fields=["stop_requested_at"])
        if current.status == Reply.Status.QUEUED:
            rows.end(current, Reply.Status.STOPPED)
        transaction.on_commit(partial(doorbell.ring, "reply", current.pk))
    return current


def _insert_reply(
    request: _Request, prompt: Message, *, new: Sequence[Message], model: AIModel, **chat_changes: Any
) -> Reply:
    """A reply to `prompt`, its still empty message, and the `new` messages that lead to it.

    It is run at once by the engine of this process; without one, or behind another reply of its chat, it is queued.
    """
    chat = prompt.chat
    busy_chats = _chats_being_answered(request.user)
    answer = Message(chat=chat, parent=prompt, role=Message.Role.ASSISTANT, model=model)
    price = model.price_at(timezone.now())
    answer.reply = Reply(
        chat=chat,
        user=request.user,
        prompt=prompt,
        message=answer,
        model=model,
        price=price,
        client_id=request.client_id,
        request_digest=request.digest,
    )
    engine = handoff.engine()
    if engine is not None and chat.pk not in busy_chats:
        path = [*Message.objects.path_to(prompt.parent_id), prompt]
        job = rows.hold_new(answer.reply, answer, worker=engine.worker, path=path)
        transaction.on_commit(partial(engine.take, job))
    else:
        transaction.on_commit(partial(doorbell.ring, "reply", answer.reply.pk))
    # The two refer to each other: the database checks that only when the transaction ends.
    insert_messages(chat, [*new, answer], model=model, **chat_changes)
    answer.reply.save(force_insert=True)
    return answer.reply


def _write_once(request: _Request, write: Callable[[], Reply]) -> StartedReply:
    """What `write` stores in one durable transaction, or what the same request stored before. Raises TooMany."""
    if earlier := _earlier(request):
        return earlier
    limits.hit("send", str(request.user.pk), limit=settings.SENDS_PER_MINUTE_PER_USER, seconds=60)
    try:
        with transaction.atomic(durable=True):
            reply = write()
    except IntegrityError:
        # The same client_id was being written by another request; what that one made is the answer here too.
        if earlier := _earlier(request):
            return earlier
        raise
    return _started(reply, created=True)


def _earlier(request: _Request) -> StartedReply | None:
    """What the same `client_id` made before. Raises Invalid for a bad id, Conflict for another body under it."""
    client_id = request.client_id
    if client_id is None:
        return None
    if not 0 < len(client_id) <= CLIENT_ID_MAX_CHARACTERS or not client_id.isprintable():
        reason = f"Between 1 and {CLIENT_ID_MAX_CHARACTERS} printable characters."
        raise Invalid("This client_id can't be used.", fields={"client_id": [reason]})
    earlier = next(iter(Reply.objects.raw(_OF_CLIENT_ID, [stored(Reply, "user", request.user.pk), client_id])), None)
    if earlier is None:
        return None
    known = Reply.objects.select_related("chat", "prompt", "message").get(pk=earlier.pk)
    if known.request_digest != request.digest:
        raise Conflict("This client_id was used for another message.")
    return _started(known, created=False)


def _started(reply: Reply, *, created: bool) -> StartedReply:
    if reply.prompt is None or reply.message is None:
        raise NotFound("This message was deleted.")
    return StartedReply(chat=reply.chat, message=reply.prompt, reply=reply, answer=reply.message, created=created)


def _chats_being_answered(user: User) -> list[UUID]:
    """The chats in which this person's replies run or wait. Raises TooMany at RUNNING_REPLIES_PER_USER."""
    most = settings.RUNNING_REPLIES_PER_USER
    chats = [reply.chat_id for reply in Reply.objects.raw(_UNFINISHED_OF, [stored(Reply, "user", user.pk), most])]
    if len(chats) >= most:
        message = f"{most} of your answers are being written. Wait for one, or stop one."
        raise TooMany(message, retry_after_seconds=2)
    return chats


def _named(model_id: UUID | None) -> str | None:
    return str(model_id) if model_id else None


def _digest(verb: str, *, subject: UUID | None, content: str | None, model: str | None) -> str:
    body = [verb, str(subject), (content or "").encode("utf-8", "surrogatepass").hex(), model]
    return hashlib.sha256(orjson.dumps(body)).hexdigest()
