"""Tool calls as they come in pieces, from servers that number them well, badly or not at all."""

import json
from dataclasses import dataclass, field
from typing import Any

from chats.llm.cleaning import TextCleaner, clean
from chats.llm.values import ToolCallDelta

CALLS_MAX = 128
# Ids and names are not text that a reply may grow by: what is longer is no id and no name.
LABEL_MAX_CHARACTERS = 256


@dataclass(slots=True)
class _Call:
    index: int
    id: str = ""
    name: str = ""
    arguments: TextCleaner = field(default_factory=TextCleaner)


class ToolCalls:
    """Gives every call one index of ours, whatever the server's; `id` and `name` are passed on once."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_wire_index: dict[int, _Call] = {}

    def take(self, piece: object) -> ToolCallDelta | None:
        """The delta that one entry of `tool_calls` stands for; None if it says nothing or there are too many calls."""
        if not isinstance(piece, dict):
            return None
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = _text(piece.get("id")), _text(function.get("name"))
        call = self._call(piece.get("index"), call_id=call_id, name=name)
        if call is None:
            return None
        delta = ToolCallDelta(
            index=call.index,
            id="" if call.id else call_id,
            name="" if call.name else name,
            arguments=call.arguments.clean(_arguments(function.get("arguments"))),
        )
        call.id, call.name = call.id or call_id, call.name or name
        return delta if delta.id or delta.name or delta.arguments else None

    def end(self) -> list[ToolCallDelta]:
        """What was held back of arguments that ended in half a character."""
        ends = [(call.index, call.arguments.end()) for call in self._calls]
        return [ToolCallDelta(index, arguments=text) for index, text in ends if text]

    def _call(self, wire_index: Any, *, call_id: str, name: str) -> _Call | None:
        """The call that a piece belongs to, a new one when it begins one."""
        is_numbered = type(wire_index) is int
        known = self._by_wire_index.get(wire_index) if is_numbered else self._last()
        # Some servers send several whole calls under one number, or without a number: a new id begins a new call.
        begins_new = bool(known and call_id and known.id and call_id != known.id)
        begins_new |= bool(known and not is_numbered and not call_id and name and known.name)
        if known and not begins_new:
            return known
        if len(self._calls) >= CALLS_MAX:
            return None
        call = _Call(index=len(self._calls))
        self._calls.append(call)
        if is_numbered:
            self._by_wire_index[wire_index] = call
        return call

    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None


def _text(value: object) -> str:
    return clean(value[:LABEL_MAX_CHARACTERS]) if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    # Some local servers send the arguments as an object instead of as JSON text.
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except RecursionError:
            return ""
    return value if isinstance(value, str) else ""
