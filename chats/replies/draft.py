"""Reading a provider's stream into a reply's log: first words at once, later ones in short windows."""

import asyncio
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

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
    """A message being written: what the provider has sent, gathered and passed on to the log."""

    def __init__(self, log: ReplyLog) -> None:
        self.log = log
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.first_token_at: datetime | None = None
        self.is_too_long = False
        self._bytes = 0
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self._window: asyncio.TimerHandle | None = None

    def take(self, event: StreamEvent) -> None:
        match event:
            case TextDelta(text):
                self._gather(self._text, text)
            case ReasoningDelta(text):
                self._gather(self._reasoning, text)
            case ToolCallDelta():
                self._take_tool_call(event)
            case UsageReported(usage):
                self.usage = usage
            case Finished(reason):
                self.finish_reason = reason

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return [self._tool_calls[index] for index in sorted(self._tool_calls)]

    @property
    def has_begun(self) -> bool:
        return self.first_token_at is not None

    def settle(self) -> None:
        """Pass on what is gathered; nothing more will come."""
        if self._window is not None:
            self._window.cancel()
            self._window = None
        self._pass_on()

    def _gather(self, waiting: list[str], text: str) -> None:
        waiting.append(self._fitting(text))
        if self._window is None:
            self._open_window()

    def _fitting(self, text: str) -> str:
        """As much of `text` as REPLY_MAX_BYTES leaves room for; what it takes is counted."""
        if self.first_token_at is None:
            self.first_token_at = timezone.now()
        room = settings.REPLY_MAX_BYTES - self._bytes
        size = len(text) if text.isascii() else len(text.encode())
        if size > room:
            self.is_too_long = True
            text = text.encode()[:room].decode(errors="ignore")
        self._bytes += size
        return text

    def _open_window(self) -> None:
        self._pass_on()
        self._window = asyncio.get_running_loop().call_later(settings.REPLY_WINDOW_SECONDS, self._close_window)

    def _close_window(self) -> None:
        self._window = None
        if self._text or self._reasoning:
            self._open_window()

    def _pass_on(self) -> None:
        if self._reasoning:
            self.log.append_reasoning("".join(self._reasoning))
            self._reasoning.clear()
        if self._text:
            self.log.append_text("".join(self._text))
            self._text.clear()

    def _take_tool_call(self, delta: ToolCallDelta) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._tool_calls.setdefault(delta.index, empty)
        call["id"] = call["id"] or delta.id
        call["function"]["name"] = call["function"]["name"] or delta.name
        call["function"]["arguments"] += self._fitting(delta.arguments)
