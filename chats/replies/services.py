"""Verbs on replies. Every interface starts, retries and stops through these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Max
from django.utils import timezone

from accounts import limits
from accounts.client_ids import check_client_id
from accounts.models import User
from accounts.queries import found, stored
from chats import doorbell
from chats.catalog.models import AIModel
from chats.catalog.services import usable_model
from chats.errors import Conflict, Invalid, NotFound, ReplyRunning, TooMany
from chats.models import Chat, Message, Reply
from chats.once import digest_of
from chats.replies import claims, endings, handoff
from chats.replies.retrieval import DocumentUse, check_documents
from chats.services import (
    check_text,
    insert_chat,
    insert_messages,
    lock_chat,
    lock_chat_of,
    lock_message,
    title_from,
)
from chats.tool_use import ToolUse, check_tools, clean_tools

# By hand, as every send asks: the ORM takes longer to write these than the database to answer them.
_OF_CLIENT_ID = "SELECT id, request_verb, request_digest FROM chats_reply WHERE user_id = %s AND client_id = %s"
_CHATS_OF_UNFINISHED = """
    SELECT chat_id FROM chats_reply WHERE user_id = %s AND status IN ('queued', 'running') LIMIT %s
"""
_WAITING_IN_CHAT = "SELECT 1 FROM chats_reply WHERE chat_id = %s AND status = 'waiting' LIMIT 1"


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
    """Who asks for what, under which id of his own, and what its body was: the same id may not come with another."""

    user: User
    client_id: str | None
    verb: Reply.Verb
    digest: str


def start_reply(
    user: User,
    *,
    content: str,
    chat_id: UUID | None = None,
    model: str | None = None,
    use_documents: DocumentUse | None = None,
    use_tools: ToolUse | None = None,
    client_id: str | None = None,
    **chat_fields: Any,
) -> StartedReply:
    """Store what a person says and start the answer to it; without `chat_id`, in a new one made of `chat_fields`.

    `use_documents` and `use_tools` hold for the chat from now on; without one, that stays as it was. The same
    `client_id` again gives the same answer. Raises Conflict when it came with another body, Invalid, TooLarge,
    ModelUnavailable, NotFound and TooMany; then nothing is stored.
    """
    text = _check_said(content)
    fields: dict[str, Any] = {"retrieval": use_documents.stored} if use_documents else {}
    if use_tools:
        fields["tools"] = clean_tools(use_tools.stored)
    of_body = {"content": content, "model": model, "fields": fields or None}
    request = _request(user, client_id, Reply.Verb.SEND, subject=chat_id, **of_body)

    def write() -> Reply:
        if chat_id is None:
            chosen = usable_model(user, model)
            chat = insert_chat(user, model=chosen, **chat_fields)
        else:
            chat = lock_chat_of(user, chat_id)
            _end_waiting(chat)
            chosen = usable_model(user, model or _named(chat.model_id))
        if use_documents:
            check_documents(user, use_documents)
        check_tools(user, fields.get("tools"))
        for name, value in fields.items():
            # The run may begin with this very object.
            setattr(chat, name, value)
        prompt = Message(chat=chat, parent_id=chat.current_leaf_id, role=Message.Role.USER, content=text)
        changes: dict[str, Any] = {"title": _title_with(chat, text), **fields}
        return _insert_reply(request, prompt, new=[prompt], model=chosen, **changes)

    return _write_once(request, write)


def edit_message(
    user: User, message: Message, *, content: str, model: str | None = None, client_id: str | None = None
) -> StartedReply:
    """Say it differently: a new message beside `message`, and the answer to it. What was said before stays.

    Raises as `start_reply`, and Invalid when `message` is not a person's.
    """
    text = _check_said(content)
    request = _request(user, client_id, Reply.Verb.EDIT, subject=message.pk, content=content, model=model)

    def write() -> Reply:
        earlier = lock_message(message)
        if earlier.role != Message.Role.USER:
            raise Invalid("Only what a person said can be asked again. Change this message in place.")
        chat = earlier.chat
        _end_waiting(chat)
        prompt = Message(
            chat=chat,
            parent_id=earlier.parent_id,
            role=Message.Role.USER,
            content=text,
            attachments=earlier.attachments,
        )
        chosen = usable_model(user, model or _named(chat.model_id))
        return _insert_reply(request, prompt, new=[prompt], model=chosen, title=_title_with(chat, text))

    return _write_once(request, write)


def retry_reply(reply: Reply, *, model: str | None = None, client_id: str | None = None) -> StartedReply:
    """Answer the same message again, beside the earlier answer. Raises as `start_reply`, and Conflict while it runs."""

    def find() -> tuple[Message, UUID | None]:
        current = _lock_finished(reply)
        return _prompt_of(current), current.asked_model_id

    return _answer_again(reply.user, reply.pk, find, model=model, client_id=client_id)


def regenerate_message(
    user: User, message: Message, *, model: str | None = None, client_id: str | None = None
) -> StartedReply:
    """As `retry_reply`, of whatever answer: one that a program has written answers what a person said above it.

    To a client the two are one operation. Raises Invalid when `message` is no answer.
    """

    def find() -> tuple[Message, UUID | None]:
        answer = lock_message(message)
        if answer.role != Message.Role.ASSISTANT:
            raise Invalid("Only an answer can be written again.")
        if answer.reply is not None and not answer.reply.is_finished:
            raise ReplyRunning
        return _question_above(answer), answer.model_id

    return _answer_again(user, message.reply_id or message.pk, find, model=model, client_id=client_id)


def answer_message(
    user: User, message: Message, *, model: str | None = None, client_id: str | None = None
) -> StartedReply:
    """Answer what a person said as it stands: its answer was deleted, or it was stored without one.

    An answer that it has stays, beside the new one. Raises as `start_reply`, and Invalid when nobody said `message`.
    """
    request = _request(user, client_id, Reply.Verb.ANSWER, subject=message.pk, model=model)

    def write() -> Reply:
        question = lock_message(message)
        if question.role != Message.Role.USER:
            raise Invalid("Only what a person said can be answered.")
        chosen = usable_model(user, model or _named(question.chat.model_id))
        return _insert_reply(request, question, new=[], model=chosen)

    return _write_once(request, write)


def continue_reply(reply: Reply, *, client_id: str | None = None) -> StartedReply:
    """Go on where an unfinished answer stopped, in a new one beside it that begins with its text.

    Raises as `start_reply`, and Conflict when it is whole, still being written, or has no text.
    """
    request = _request(reply.user, client_id, Reply.Verb.CONTINUE, subject=reply.pk)

    def write() -> Reply:
        current = _lock_finished(reply)
        if current.status not in Reply.CONTINUABLE:
            raise Conflict("This answer can't be continued. Try again, or ask for more in a new message.")
        if current.message is not None and current.message.calls.exists():
            raise Conflict("This answer was stopped while tools were called. Say in a new message how to go on.")
        if current.message is None or not current.message.content:
            raise Conflict("This answer has no text yet. Ask for a new one.")
        chosen = usable_model(reply.user, _named(reply.asked_model_id))
        return _insert_reply(request, _prompt_of(current), new=[], model=chosen, continues=current)

    return _write_once(request, write)


def stop_reply(reply: Reply) -> Reply:
    """Ask the reply to stop, as often as one likes; a finished one stays as it ended. Its text so far is kept.

    Raises NotFound when it was deleted meanwhile.
    """
    with transaction.atomic(durable=True):
        Chat.objects.locked().filter(pk=reply.chat_id).first()
        current = found(Reply.objects.select_for_update(), pk=reply.pk)
        if not current.is_finished and current.stop_requested_at is None:
            current.stop_requested_at = timezone.now()
            current.save(update_fields=["stop_requested_at"])
        if current.status in {Reply.Status.QUEUED, Reply.Status.WAITING}:
            endings.end(current, Reply.Status.STOPPED)
        transaction.on_commit(partial(doorbell.ring, "reply", current.pk))
    return current


def _answer_again(
    user: User,
    subject: UUID,
    find: Callable[[], tuple[Message, UUID | None]],
    *,
    model: str | None,
    client_id: str | None,
) -> StartedReply:
    """Another answer to the message that `find` locks with its chat, by `model` or else the one that it names.

    `subject` is the reply that wrote the earlier answer, or that message where none did.
    """
    request = _request(user, client_id, Reply.Verb.REGENERATE, subject=subject, model=model)

    def write() -> Reply:
        prompt, asked_before = find()
        return _insert_reply(request, prompt, new=[], model=usable_model(user, model or _named(asked_before)))

    return _write_once(request, write)


def _request(user: User, client_id: str | None, verb: Reply.Verb, **body: Any) -> _Request:
    return _Request(user, client_id, verb, digest_of(verb.value, **body))


def _insert_reply(
    request: _Request,
    prompt: Message,
    *,
    new: Sequence[Message],
    model: AIModel,
    continues: Reply | None = None,
    **chat_changes: Any,
) -> Reply:
    """A reply to `prompt`, its message, still empty or with what `continues` has, and the `new` ones that lead to it.

    It is run at once by the engine of this process; without one, or behind another reply of its chat, it is queued.
    """
    chat = prompt.chat
    if not new:
        _end_waiting(chat)
    is_busy = _is_being_answered(chat, user=request.user)
    kept = continues.message.content if continues and continues.message else ""
    answer = Message(chat=chat, parent=prompt, role=Message.Role.ASSISTANT, model=model, content=kept)
    if continues and continues.message:
        # Below the steps that led to it; the markers in its text number these.
        answer.parent_id, answer.sources = continues.message.parent_id, continues.message.sources
    price = model.price_at(timezone.now())
    answer.reply = Reply(
        created_at=_moment_after(chat) if is_busy else timezone.now(),
        chat=chat,
        user=request.user,
        prompt=prompt,
        message=answer,
        continues=continues,
        kept_characters=len(kept),
        # The text that is there before anything happens counts as an event, for whoever follows before it runs.
        snapshot_seq=1 if kept else 0,
        model=model,
        price=price,
        retrieval=continues.retrieval if continues else chat.retrieval,
        client_id=request.client_id,
        request_verb=request.verb,
        request_digest=request.digest,
    )
    engine = handoff.engine()
    if engine is not None and not is_busy:
        if answer.parent_id == prompt.pk:
            path = claims.path_with(model, prompt)
        else:
            path = claims.path_for(model, answer.parent_id)
        job = claims.hold_new(answer.reply, answer, worker=engine.worker, path=path)
        transaction.on_commit(partial(engine.take, job))
    else:
        handoff.enqueue(answer.reply.pk)
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
    check_client_id(client_id)
    of_id = list(Reply.objects.raw(_OF_CLIENT_ID, [stored(Reply, "user", request.user.pk), client_id]))
    # By the digest: rows of a version that knew of no verbs count as sends, whatever they were.
    for reply in of_id:
        if reply.request_digest == request.digest:
            known = Reply.objects.select_related("chat", "prompt", "message").get(pk=reply.pk)
            return _started(known, created=False)
    if any(reply.request_verb == request.verb for reply in of_id):
        raise Conflict("This client_id was used for another message.")
    return None


def _started(reply: Reply, *, created: bool) -> StartedReply:
    if reply.chat.deleted_at or reply.prompt is None or reply.message is None:
        raise NotFound("This message was deleted.")
    return StartedReply(chat=reply.chat, message=reply.prompt, reply=reply, answer=reply.message, created=created)


def _is_being_answered(chat: Chat, *, user: User) -> bool:
    """Whether this person waits for a reply in `chat`. Raises TooMany at RUNNING_REPLIES_PER_USER anywhere."""
    most = settings.RUNNING_REPLIES_PER_USER
    with connection.cursor() as cursor:
        cursor.execute(_CHATS_OF_UNFINISHED, [stored(Reply, "user", user.pk), most])
        chats = [chat_id for (chat_id,) in cursor.fetchall()]
    if len(chats) >= most:
        message = f"{most} of your answers are being written. Wait for one, or stop one."
        raise TooMany(message, retry_after_seconds=2)
    return stored(Reply, "chat", chat.pk) in chats


def _end_waiting(chat: Chat) -> None:
    """Whoever goes on in a chat has given up on what waits there for approval. The chat is locked."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_IN_CHAT, [stored(Reply, "chat", chat.pk)])
        if not cursor.fetchone():
            return
    for reply in Reply.objects.select_for_update().filter(chat=chat, status=Reply.Status.WAITING):
        endings.end(reply, Reply.Status.STOPPED, *endings.SUPERSEDED)
    # What was asked for has its results by now, and they stand before what is said next.
    chat.refresh_from_db(fields=["current_leaf"])


def _moment_after(chat: Chat) -> datetime:
    """Now, or just after the last reply that is under way: they run in this order, and clocks of nodes may differ."""
    newest = Reply.objects.unfinished().filter(chat=chat).aggregate(newest=Max("created_at"))["newest"]
    return max(timezone.now(), newest + timedelta(microseconds=1)) if newest else timezone.now()


def _check_said(content: str) -> str:
    text = check_text(content)
    if not text.strip():
        raise Invalid("Write something first.", fields={"content": ["This may not be empty."]})
    return text


def _title_with(chat: Chat, text: str) -> str:
    return chat.title or (title_from(text) if chat.is_title_automatic else "")


def _lock_finished(reply: Reply) -> Reply:
    """The reply as it stands, with its chat locked. Raises Conflict while it is being written."""
    chat = lock_chat(reply.chat)
    current = Reply.objects.select_related("prompt", "message").get(pk=reply.pk)
    if not current.is_finished:
        raise Conflict("This answer is still being written. Stop it first.")
    current.chat = chat
    return current


def _prompt_of(reply: Reply) -> Message:
    if reply.prompt is None:
        raise NotFound("The message to answer was deleted.")
    reply.prompt.chat = reply.chat
    return reply.prompt


def _question_above(answer: Message) -> Message:
    """What a person said, above `answer` and the steps that led to it. Raises Invalid when nobody has."""
    above = answer
    while above.parent is not None:
        above = above.parent
        if above.role == Message.Role.USER:
            above.chat = answer.chat
            return above
    raise Invalid("Nobody has asked for this message, so it can't be answered again.")


def _named(model_id: UUID | None) -> str | None:
    return str(model_id) if model_id else None
