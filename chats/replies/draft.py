"""What a provider's stream has brought so far, passed on to the reply's log."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from chats.llm.passages import Markers
from chats.llm.values import (
    Finished,
    FinishReason,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from chats.replies.log import ReplyLog


class Draft:
    """A message being written, which begins with `kept_text`."""

    def __init__(self, log: ReplyLog, *, kept_text: str = "") -> None:
        self.log = log
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.first_token_at: datetime | None = None
        self.is_too_long = False
        self._kept_text = kept_text
        self._room = max(0, settings.REPLY_MAX_BYTES - len(kept_text.encode()))
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self._markers: Markers | None = None

    def expect_markers(self, count: int) -> None:
        """The text to come refers to so many passages; what refers to others is taken out."""
        self._markers = Markers(count, after=self._kept_text)

    def take(self, event: StreamEvent) -> None:
        match event:
            case TextDelta(text):
                self._take_text(text)
            case ReasoningDelta(text):
                self.log.append_reasoning(self._fitting(text))
            case ToolCallDelta():
                self._take_tool_call(event)
            case UsageReported(usage):
                self.usage = usage
            case Finished(reason):
                self.finish_reason = reason

    def end(self) -> None:
        """No more comes: what was held back of the text is all there is."""
        if self._markers is not None and (rest := self._markers.end()):
            self.log.append_text(self._fitting(rest))

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return [self._tool_calls[index] for index in sorted(self._tool_calls)]

    @property
    def has_begun(self) -> bool:
        return self.first_token_at is not None

    def _take_text(self, text: str) -> None:
        if self._markers is None:
            self.log.append_text(self._fitting(text))
            return
        self._note_first_token()
        if plain := self._markers.take(text):
            self.log.append_text(self._fitting(plain))

    def _note_first_token(self) -> None:
        if self.first_token_at is None:
            self.first_token_at = timezone.now()

    def _fitting(self, text: str) -> str:
        """As much of `text` as REPLY_MAX_BYTES leaves room for, which is then less."""
        self._note_first_token()
        size = len(text) if text.isascii() else len(text.encode())
        if size > self._room:
            self.is_too_long = True
            text = text.encode()[: self._room].decode(errors="ignore")
        self._room = max(0, self._room - size)
        return text

    def _take_tool_call(self, delta: ToolCallDelta) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._tool_calls.setdefault(delta.index, empty)
        call["id"] = call["id"] or delta.id
        call["function"]["name"] = call["function"]["name"] or delta.name
        call["function"]["arguments"] += self._fitting(delta.arguments)
