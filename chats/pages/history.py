"""The messages of a chat as its page shows them: the newest of the current branch, earlier ones on demand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.http import Http404
from django.utils.safestring import SafeString

from accounts.models import User
from chats.models import Chat, Message, Reply
from chats.pages import markdown
from chats.pages.citations import Source, linked, sources_of
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
    """One message with all a template needs. `html` is a model's; people are shown as they typed."""

    message: Message
    html: SafeString
    usage: dict[str, Any] | None
    cost: str | None
    is_last: bool
    siblings: Sequence[UUID]
    sources: Sequence[Source] = ()

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
    def is_stopped(self) -> bool:
        return self.reply is not None and self.reply.status == Reply.Status.STOPPED

    @property
    def ending(self) -> str:
        """One sentence when the answer did not end as it should."""
        reply = self.reply
        if reply is None or reply.message_id != self.message.pk or not reply.is_finished:
            return ""
        if self.is_stopped and not self.message.content:
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
        return is_over and bool(self.message.content)

    @property
    def place(self) -> int:
        """Which of its siblings it is, from 1."""
        return self.siblings.index(self.message.pk) + 1

    @property
    def sibling_before(self) -> UUID | None:
        return self.siblings[self.place - 2] if self.place > 1 else None

    @property
    def sibling_after(self) -> UUID | None:
        return self.siblings[self.place] if self.place < len(self.siblings) else None

    @property
    def tools(self) -> list[str]:
        """Names of the tools it called."""
        return [_tool_name(call) for call in self.message.tool_calls]

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
    shown = ids[start:end]
    return History(entries_of(user, shown, leaf=chat.current_leaf_id), shown[0] if start else None, before is None)


def page_holding(user: User, chat: Chat, message_id: UUID) -> UUID | None:
    """`before` of a page with this message in its middle; None when it is on the newest, or not in the branch."""
    ids = Message.objects.visible_to(user).path_ids(chat.current_leaf_id) if chat.current_leaf_id else []
    if message_id not in ids[: max(0, len(ids) - PAGE_SIZE)]:
        return None
    return ids[ids.index(message_id) + PAGE_SIZE // 2]


def entries_of(user: User, ids: Sequence[UUID], *, leaf: UUID | None) -> list[Entry]:
    """The messages with these ids, in this order, as far as `user` may see them."""
    messages = (
        Message.objects.visible_to(user).select_related("model", "reply").prefetch_related("reply__usage_records")
    )
    found = messages.in_bulk(list(ids))
    budget = markdown.Budget.of_page()
    siblings = Message.objects.visible_to(user).sibling_ids(found.values())
    return [
        _entry(found[pk], budget, is_last=pk == leaf, siblings=siblings[found[pk].parent_id])
        for pk in ids
        if pk in found
    ]


def _entry(message: Message, budget: markdown.Budget, *, is_last: bool, siblings: Sequence[UUID]) -> Entry:
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
        siblings,
        sources=sources,
    )
