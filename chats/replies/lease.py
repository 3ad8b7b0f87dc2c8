"""What a worker holds of a reply, and what it says of it in the end.

Its writes name itself and its attempt: after a takeover they change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from chats.catalog.models import AIModel, Price
from chats.llm.values import ChatMessage, ChatRequest, Limits, Target, Usage
from chats.models import Chat, Message, Reply

# A lost attempt may have numbered events beyond its last snapshot: at most about 40 a second, for at most a second, and
# as many more as the longest answer has pieces (at most 7,000, see config.checks). The next attempt starts this far on,
# so that no number is ever used twice.
LOST_EVENTS_MARGIN = 10_000


@dataclass(frozen=True)
class Job:
    """A reply this worker now holds, with all it needs to run it. `reply` is as it was when it was claimed.

    `model` is the one to ask: the reply's own, or one that answers in its place. `target` is None when it is off.
    """

    reply: Reply
    message: Message
    model: AIModel | None
    price: Price | None
    target: Target | None
    request: ChatRequest
    limits: Limits
    is_cut: bool = False  # the oldest messages of the chat are not in the request
    is_in_calls: bool = False  # its message is a step whose calls are not all done
    taint: str = ""  # whose words, other than its person's, the model reads; see `taint`

    @property
    def reply_id(self) -> UUID:
        return self.reply.pk

    @property
    def writer(self) -> dict[str, Any]:
        """Who writes the answer, as the columns of the reply have it."""
        first = self.reply.model
        return {"model": self.model, "price": self.price, "fallback_from": None if self.model == first else first}

    @property
    def notice(self) -> str:
        """What people are told when it is not the model that was asked for, or when it was not told all."""
        notices = []
        if self.model != self.reply.model:
            notices.append(f"{self.reply.model} did not answer; {self.model} answered instead.")
        if self.is_cut:
            notices.append("This chat is too long to be read at once; its oldest messages were left out.")
        if self.is_last_step:
            notices.append("It had used all its rounds of tool calls, and answered with what it had.")
        return " ".join(notices)

    @property
    def lease(self) -> tuple[str, int]:
        return self.reply.worker, self.reply.attempt

    @property
    def kept_text(self) -> str:
        """What its message begins with: the text of the answer this one continues."""
        return self.message.content[: self.reply.kept_characters]

    @property
    def is_last_step(self) -> bool:
        """Whether no calls are left to it."""
        return self.request.is_without_calls

    @property
    def asked_messages(self) -> Sequence[ChatMessage]:
        """Those of the request, without the two that have it continue an answer."""
        return self.request.messages[:-2] if self.reply.kept_characters else self.request.messages

    def lock(self) -> bool:
        """Keep the row as it is until the end of the transaction. False: the reply is ours no longer."""
        return self.held.select_for_update().values_list("pk", flat=True).first() is not None

    def lock_with_chat(self) -> Chat | None:
        """As `lock`, after the chat's row; None when either is not there for us."""
        chat = Chat.objects.locked().filter(pk=self.reply.chat_id).first()
        return chat if chat is not None and self.lock() else None

    @property
    def held(self) -> QuerySet[Reply]:
        """The row, as long as it is still ours."""
        return Reply.objects.held_by(*self.lease).filter(pk=self.reply.pk)


@dataclass(frozen=True)
class Snapshot:
    job: Job
    seq: int
    text: str
    reasoning: str


@dataclass(frozen=True)
class FailedCall:
    """A call that brought no answer, and yet the provider said what it used."""

    job: Job
    usage: Usage


@dataclass(frozen=True)
class Ending:
    """How a run ended, or a step of it, and what is to be stored and booked for it.

    `is_in_calls`: its message was stored before its calls were run, and stays.
    """

    status: Reply.Status
    seq: int
    text: str
    reasoning: str
    tool_calls: Sequence[dict[str, Any]] = ()
    error_code: str = ""
    error_message: str = ""
    usage: Usage | None = None
    is_estimated: bool = False
    first_token_at: datetime | None = None
    failed_calls: Sequence[FailedCall] = ()
    names_writer: bool = False  # the rows may name another model, which was asked in between
    is_in_calls: bool = False
