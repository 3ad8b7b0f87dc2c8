"""The messages of a chat as its page shows them: the newest of the current branch, earlier ones on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.http import Http404
from django.utils.safestring import SafeString

from accounts.models import User
from chats.models import Chat, Message, Reply, ToolCall
from chats.models.message import MessageQuerySet
from chats.pages import markdown
from chats.pages.citations import Source, linked, sources_of
from chats.pages.shown_calls import ShownCall, shown_calls
from chats.replies.present import cost_json, usage_json

PAGE_SIZE: Final = 40

ENDINGS: Final = {
    Reply.Status.STOPPED: "You stopped this answer. What was written is kept.",
    Reply.Status.FAILED: "The answer failed. Your message is safe; try again.",
    Reply.Status.INCOMPLETE: "The model ended before it was done. The text so far is kept; try again for all of it.",
    Reply.Status.INTERRUPTED: "The server was interrupted while answering. The text so far is kept; try again.",
    Reply.Status.BUDGET_EXCEEDED: "The budget does not cover this answer. Your message is safe; ask for more budget.",
}


@dataclass(frozen=True)
class Entry:
    """One message with all a template needs. `html` is a model's; people are shown as they typed.

    A step of an answer has `calls`, with what came of them, and `goes_on` if others stand above it. `siblings` are
    those of `version`: at the end of an answer that is its first step, as versions are of whole answers.
    """

    message: Message
    html: SafeString
    usage: dict[str, Any] | None
    cost: str | None
    is_last: bool
    siblings: Sequence[UUID]
    version: Message
    sources: Sequence[Source] = ()
    calls: Sequence[ShownCall] = ()
    goes_on: bool = False

    @property
    def unused_sources(self) -> list[Source]:
        """The passages that the answer was given and does not refer to."""
        return [source for source in self.sources if not source.is_cited]

    @property
    def reply(self) -> Reply | None:
        return self.message.reply

    @property
    def is_growing(self) -> bool:
        return self.reply is not None and not self.reply.is_finished and self.reply.message_id == self.message.pk

    @property
    def is_step(self) -> bool:
        """Whether its answer goes on in another message."""
        reply = self.reply
        if self.is_last or not self.calls or reply is None:
            return False
        return reply.message_id not in {None, self.message.pk}

    @property
    def is_waiting(self) -> bool:
        """Whether nothing goes on before its person has decided."""
        return self.is_growing and any(call.is_waiting for call in self.calls) and not self.is_working

    @property
    def is_working(self) -> bool:
        """Whether calls are run, or about to be."""
        return any(not (call.is_waiting or call.call.is_settled) for call in self.calls)

    @property
    def is_stopped(self) -> bool:
        return self.reply is not None and self.reply.status == Reply.Status.STOPPED

    @property
    def ending(self) -> str:
        """One sentence when the answer did not end as it should."""
        reply = self.reply
        if reply is None or reply.message_id != self.message.pk or not reply.is_finished:
            return ""
        if self.is_stopped and not (self.message.content or self.calls or self.goes_on):
            return "You stopped this answer before it began."
        return reply.error_message or ENDINGS.get(Reply.Status(reply.status), "")

    @property
    def can_answer(self) -> bool:
        """Whether it is a question at the end of the branch."""
        return self.is_last and self.message.role == Message.Role.USER

    @property
    def can_retry(self) -> bool:
        """Whether it is an answer at the end of the branch. One from another chat or a program has no reply."""
        if not self.is_last or self.message.role != Message.Role.ASSISTANT:
            return False
        return self.reply.is_finished if self.reply else self.message.parent_id is not None

    @property
    def can_continue(self) -> bool:
        reply = self.reply
        is_over = reply is not None and reply.message_id == self.message.pk and reply.status in Reply.CONTINUABLE
        # It would go on from the text, and forget what the calls have come to.
        return is_over and bool(self.message.content) and not self.calls

    @property
    def place(self) -> int:
        """Which of its siblings it is, from 1."""
        return self.siblings.index(self.version.pk) + 1

    @property
    def sibling_before(self) -> UUID | None:
        return self.siblings[self.place - 2] if self.place > 1 else None

    @property
    def sibling_after(self) -> UUID | None:
        return self.siblings[self.place] if self.place < len(self.siblings) else None

    @property
    def tools(self) -> list[str]:
        """Names of the tools it called, where that is all there is to know of them."""
        return [] if self.calls else [_tool_name(call) for call in self.message.tool_calls]

    @property
    def author(self) -> str:
        if self.message.role == Message.Role.USER:
            return "You"
        if self.message.role == Message.Role.ASSISTANT:
            return self.message.model.name if self.message.model else "Assistant"
        return self.message.get_role_display().capitalize()


@dataclass(frozen=True)
class History:
    """`earlier` is the message before which there is more; None at the beginning."""

    entries: list[Entry]
    earlier: UUID | None
    is_newest: bool

    @property
    def growing(self) -> Entry | None:
        return next((entry for entry in reversed(self.entries) if entry.is_growing), None)


def _tool_name(call: Any) -> str:
    # Programs write these through the API, in whatever shape they have them.
    described = call.get("function", call) if isinstance(call, dict) else None
    name = described.get("name") if isinstance(described, dict) else None
    return name if name and isinstance(name, str) else "a tool"


def history_of(user: User, chat: Chat, *, before: UUID | None = None) -> History:
    """A page of the current branch, in order. Raises Http404 when `before` is not in it."""
    ids = Message.objects.visible_to(user).path_ids(chat.current_leaf_id) if chat.current_leaf_id else []
    if before is not None and before not in ids:
        raise Http404
    end = ids.index(before) if before else len(ids)
    start = max(0, end - PAGE_SIZE)
    found = _messages_of(user).in_bulk(ids[start:end])
    if start and _is_amid(found.get(ids[start])):
        start = _begin_of_turn(user, ids, start)
        found = _messages_of(user).in_bulk(ids[start:end])
    entries = _entries(user, ids[start:end], found, leaf=chat.current_leaf_id)
    return History(entries, ids[start] if start else None, before is None)


def _is_amid(message: Message | None) -> bool:
    """Whether a page that began here would tear an answer apart. None: it is the result of a call."""
    return message is None or (message.reply_id is not None and message.parent_role == Message.Role.TOOL)


def _begin_of_turn(user: User, ids: Sequence[UUID], start: int) -> int:
    """Where the answer begins in whose midst `start` is: a page begins with all of its steps."""
    messages = Message.objects.visible_to(user)
    while start:
        place = messages.filter(pk=ids[start]).values_list("reply", "role", "parent__role").first()
        if place is None or place[0] is None or Message.Role.TOOL not in place[1:]:
            break
        of_reply = set(messages.filter(reply=place[0]).values_list("pk", flat=True))
        # What continues an answer is another one's, below the steps of the first.
        start = min(start - 1, next(number for number, pk in enumerate(ids) if pk in of_reply))
    return start


def page_holding(user: User, chat: Chat, message_id: UUID) -> UUID | None:
    """`before` of a page with this message in its middle; None when it is on the newest, or not in the branch."""
    ids = Message.objects.visible_to(user).path_ids(chat.current_leaf_id) if chat.current_leaf_id else []
    if message_id not in ids[: max(0, len(ids) - PAGE_SIZE)]:
        return None
    return ids[ids.index(message_id) + PAGE_SIZE // 2]


def entries_of(user: User, ids: Sequence[UUID], *, leaf: UUID | None) -> list[Entry]:
    """The messages with these ids, in this order, as far as `user` may see them.

    Results of calls stand with the step that asked for them, and are no entries of their own.
    """
    return _entries(user, ids, _messages_of(user).in_bulk(list(ids)), leaf=leaf)


def _entries(user: User, ids: Sequence[UUID], found: Mapping[UUID, Message], *, leaf: UUID | None) -> list[Entry]:
    calls = shown_calls(user, {m.reply.pk for m in found.values() if m.reply and m.reply.steps})
    firsts = {shown[0].call.reply_id: pk for pk, shown in reversed(calls.items())}
    elsewhere = [pk for pk in firsts.values() if pk not in found]
    known = {**found, **(_messages_of(user).in_bulk(elsewhere) if elsewhere else {})}
    siblings = Message.objects.visible_to(user).sibling_ids(known.values())
    budget = markdown.Budget.of_page()
    entries = []
    for message in (found[pk] for pk in ids if pk in found):
        own = calls.get(message.pk, [])
        version = _version_at(message, known, firsts, siblings)
        is_last = leaf in {message.pk, *(shown.call.result_message_id for shown in own)}
        entries.append(_entry(message, budget, own, version, siblings, is_last=is_last))
    return entries


def steps_of(user: User, reply: Reply, *, start: UUID | None) -> list[UUID]:
    """Ids of the messages that a reply has written, in their order, from `start` on. None are after what is none."""
    asked = ToolCall.objects.visible_to(user).filter(reply=reply, message__isnull=False).order_by("step", "index")
    ids = list(
        dict.fromkeys([*asked.values_list("message", flat=True), *([reply.message_id] if reply.message_id else [])])
    )
    return ids[ids.index(start) :] if start in ids else []


def _messages_of(user: User) -> MessageQuerySet:
    messages = Message.objects.visible_to(user).filter(result_of__message__isnull=True)
    return messages.select_related("model", "reply").prefetch_related("reply__usage_records").with_parent_role()


def _version_at(
    message: Message,
    known: Mapping[UUID, Message],
    firsts: Mapping[UUID, UUID],
    siblings: Mapping[UUID | None, Sequence[UUID]],
) -> Message | None:
    """Of what there are versions to choose from at `message`; None where they are told at the end of its answer."""
    reply = message.reply
    first = known.get(firsts[reply.pk]) if reply and reply.pk in firsts else None
    if reply is None or first is None or (len(siblings[message.parent_id]) > 1 and message != first):
        return message
    end = known.get(reply.message_id) if reply.message_id else None
    if message == end:
        return first
    has_own = end is not None and end != first and len(siblings[end.parent_id]) > 1
    return message if has_own or reply.message_id is None else None


def _entry(
    message: Message,
    budget: markdown.Budget,
    calls: Sequence[ShownCall],
    version: Message | None,
    siblings: Mapping[UUID | None, Sequence[UUID]],
    *,
    is_last: bool,
) -> Entry:
    # A reply with several steps used its tokens once, not at each of its messages.
    is_whole = message.reply is not None and message.reply.message_id == message.pk
    records = list(message.reply.usage_records.all()) if message.reply and is_whole else []
    is_formatted = message.role == Message.Role.ASSISTANT
    html = markdown.render(message.content, budget=budget) if is_formatted else SafeString()
    sources = sources_of(message)
    return Entry(
        message,
        linked(html, sources, content=message.content),
        usage_json(records),
        cost_json(records),
        is_last,
        siblings[version.parent_id] if version else (),
        version or message,
        sources=sources,
        calls=calls,
        goes_on=is_formatted and message.reply_id is not None and message.parent_role == Message.Role.TOOL,
    )
