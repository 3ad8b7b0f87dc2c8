"""One answer on the OpenAI wire: payloads in, events out.

This runs for every token, so it does little: neighbouring pieces of text that arrive together become one event.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from chats.llm.cleaning import TextCleaner
from chats.llm.decoding import decode
from chats.llm.errors import ProviderError, ProviderNonsense, StreamCut
from chats.llm.failures import failure_of_object
from chats.llm.http import host_of
from chats.llm.openai_tools import ToolCalls
from chats.llm.openai_usage import usage_of
from chats.llm.values import (
    Finished,
    FinishReason,
    ReasoningDelta,
    StreamEvent,
    Target,
    TextDelta,
    Usage,
    UsageReported,
)

_DONE = b"[DONE]"
_TextKind = type[TextDelta] | type[ReasoningDelta]
_PARTS_DEPTH_MAX = 8
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
# Words of servers that broke off, where others say why they are done.
_BROKEN_REASONS = frozenset(
    ["abort", "aborted", "cancelled", "canceled", "error", "failed", "insufficient_system_resource", "timeout"]
)


class Answer:
    """What has been understood so far. Nothing here raises: what is wrong waits in `failure` behind the good events."""

    def __init__(self, target: Target) -> None:
        self.is_done = False  # the provider has said [DONE]
        self.has_content = False
        self.finish_reason: FinishReason | None = None
        self.failure: ProviderError | None = None
        self._target = target
        self._usage: Usage | None = None
        self._events: list[StreamEvent] = []
        self._kind: _TextKind = TextDelta
        self._run: list[str] = []  # neighbouring pieces of `_kind`
        self._cleaners: dict[_TextKind, TextCleaner] = {TextDelta: TextCleaner(), ReasoningDelta: TextCleaner()}
        self._tools = ToolCalls()

    def take(self, payloads: Iterable[bytes]) -> list[StreamEvent]:
        """The events that these payloads bring. Nothing is taken after [DONE] or a failure."""
        for payload in payloads:
            if self.is_done or self.failure:
                break
            self._take_payload(payload)
        self._end_run()
        events, self._events = self._events, []
        self.has_content = self.has_content or bool(events)
        return events

    def take_rest(self, payloads: Iterable[bytes]) -> list[StreamEvent]:
        """As `take`, for what is left at the end of the body: a payload that was cut off there says nothing."""
        return self.take(payload for payload in payloads if _is_whole(payload))

    def end(self) -> list[StreamEvent]:
        """The last events: half characters that waited, the usage, and that it is finished if the provider said so."""
        events: list[StreamEvent] = [kind(text) for kind, c in self._cleaners.items() if (text := c.end())]
        events += self._tools.end()
        if self._usage and (self._usage.output_tokens or not self.has_content):
            events.append(UsageReported(self._usage))
        if self.finish_reason and not self.failure:
            events.append(Finished(self.finish_reason))
        return events

    def _take_payload(self, payload: bytes) -> None:
        try:
            value = decode(payload)
        except ValueError:
            self._take_what_is_not_json(payload.strip())
            return
        if not isinstance(value, dict):
            self._fail_to_understand()
        elif value.get("error"):
            self.failure = failure_of_object(value["error"], target=self._target)
        else:
            try:
                self._take_object(value)
            except RecursionError:
                # What was read may be nested deeper than we can follow.
                self._fail_to_understand()

    def _take_what_is_not_json(self, payload: bytes) -> None:
        if payload == _DONE:
            self.is_done = True
        elif payload:
            self._fail_to_understand()

    def _fail_to_understand(self) -> None:
        host = host_of(self._target)
        self.failure = ProviderNonsense(
            f"{host} sent something that is not a chat answer. Try again, or ask staff to check it."
        )

    def _take_object(self, value: Mapping[str, Any]) -> None:
        if usage := value.get("usage"):
            self._usage = usage_of(usage) or self._usage
        choices = value.get("choices")
        if not choices or not isinstance(choices, list):
            if value.get("object") == "error":
                self.failure = failure_of_object(value, target=self._target)
            return
        choice = choices[0]
        if not isinstance(choice, dict) or choice.get("index"):  # a second choice was never asked for
            return
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._take_delta(delta)
        if choice.get("error"):
            self.failure = failure_of_object(choice["error"], target=self._target)
        elif (reason := choice.get("finish_reason")) and isinstance(reason, str):
            self._take_finish_reason(reason)

    def _take_finish_reason(self, reason: str) -> None:
        name = reason.lower()
        if name in _BROKEN_REASONS:
            host = host_of(self._target)
            self.failure = StreamCut(f"{host} broke off its answer («{name}»). The text so far is kept; try again.")
        else:
            self.finish_reason = _FINISH_REASONS.get(name, "stop")

    def _take_delta(self, delta: Mapping[str, Any]) -> None:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            self._add(ReasoningDelta, thought)
        if content := delta.get("content"):
            self._add(TextDelta, content)
        if refusal := delta.get("refusal"):
            self._add(TextDelta, refusal)
        if (calls := delta.get("tool_calls")) and isinstance(calls, list):
            self._add_tool_calls(calls)
        if call := delta.get("function_call"):  # the form before there were several
            self._add_tool_calls([{"index": 0, "function": call}])

    def _add(self, kind: _TextKind, content: object, *, depth: int = 0) -> None:
        if isinstance(content, str):
            if kind is not self._kind:
                self._end_run()
                self._kind = kind
            self._run.append(content)
        elif isinstance(content, list) and depth < _PARTS_DEPTH_MAX:
            for part in content:
                self._add_part(kind, part, depth=depth + 1)

    def _add_part(self, kind: _TextKind, part: object, *, depth: int) -> None:
        if not isinstance(part, dict):
            return
        if "thinking" in part:
            self._add(ReasoningDelta, part["thinking"], depth=depth)
        elif isinstance(part.get("text"), str):
            self._add(kind, part["text"])

    def _add_tool_calls(self, pieces: list[Any]) -> None:
        self._end_run()
        self._events += [delta for piece in pieces if (delta := self._tools.take(piece))]

    def _end_run(self) -> None:
        if not self._run:
            return
        text = self._cleaners[self._kind].clean("".join(self._run))
        self._run.clear()
        if text:
            self._events.append(self._kind(text))


def _is_whole(payload: bytes) -> bool:
    try:
        decode(payload)
    except ValueError:
        return payload.strip() == _DONE
    return True
