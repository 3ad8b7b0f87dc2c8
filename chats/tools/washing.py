"""What a server sends, before the package that speaks MCP reads it: bounded in number, each odd item left out alone.

That package checks every item against every kind there is, on the event loop, and refuses all for the sake of one.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import orjson
from django.conf import settings

from chats.cleaning import clean_text, is_deep
from chats.llm.decoding import decode

R = TypeVar("R")

PARTS_MAX = 200  # of one result
# More brackets than this nobody needs, and they cost more than all else.
BRACKETS_MAX = 200_000
NOTICE_MAX_BYTES = 65_536
REQUESTS_MAX = 100  # of a server to us, in one answer or by one program; more are passed over
DEPTH_MAX = 200  # deeper than some levels more JSON can be read, but not written
# By which the client of MCP tells that a connection has ended, or the time for an answer: not for servers to say.
CLIENTS_OWN_CODES, INTERNAL_ERROR = (-32_000, -32_001), -32_603
# Where a list of tools says how many of them made no sense.
LEFT_OUT = "parley/left-out"
_KEPT = {"content", "structuredContent", "tools"}
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
# What can be nothing else, also where it can't be read: somebody waits for it. Several at once are none.
_MESSAGES = re.compile(rb'\s*(\[\s*)?\{\s*"jsonrpc"\s*:\s*"2\.0"')
_LINE_END = re.compile(rb"\r\n|\r|\n")


class NotAMessage(Exception):
    """It is none of JSON-RPC."""


class TooMuch(NotAMessage):
    """It is more than anybody takes."""


class Washed(NamedTuple):
    """One message of JSON-RPC, fit to be read. Of three kinds: an answer, or what a server asks or tells by itself."""

    line: bytes
    is_answer: bool
    is_request: bool


def washed(payload: bytes) -> Washed:
    """Raises NotAMessage."""
    try:
        message = _decoded(payload)
    except ValueError:
        raise NotAMessage from None
    if not isinstance(message, dict):
        raise NotAMessage
    return _washed(message, size=len(payload))


def _decoded(payload: bytes) -> Any:
    """Raises ValueError, and TooMuch."""
    if payload.count(b"[") + payload.count(b"{") > BRACKETS_MAX:
        raise TooMuch
    return decode(payload)


def _washed(message: dict[str, Any], *, size: int) -> Washed:
    is_answer = "method" not in message
    if not is_answer and (size > NOTICE_MAX_BYTES or is_deep(message, levels=DEPTH_MAX)):
        # Of what a server tells or asks by itself little is of use here.
        message.pop("params", None)
    if is_deep(message, levels=DEPTH_MAX):
        raise TooMuch
    if isinstance(number := message.get("id"), float) and number.is_integer():
        message["id"] = int(number)
    if isinstance(result := message.get("result"), dict):
        _wash_result(result)
    if isinstance(error := message.get("error"), dict):
        error.pop("data", None)
        if error.get("code") in CLIENTS_OWN_CODES:
            error["code"] = INTERNAL_ERROR
    return Washed(_written(message), is_answer, not is_answer and message.get("id") is not None)


def _wash_result(result: dict[str, Any]) -> None:
    result.pop("_meta", None)
    for key in [key for key in result if key not in _KEPT]:
        # What nobody here reads would be checked all the same.
        if len(json.dumps(result[key])) > NOTICE_MAX_BYTES:
            del result[key]
    if isinstance(content := result.get("content"), list):
        result["content"] = [_part(part) for part in content[: PARTS_MAX + 1] if isinstance(part, dict)]
    structured = result.get("structuredContent")
    if structured is not None and len(_written(structured)) > settings.TOOL_RESULT_MAX_BYTES:
        del result["structuredContent"]
    if isinstance(tools := result.get("tools"), list):
        listed = tools[: settings.TOOLS_PER_SERVER + 1]
        result["tools"] = [tool for tool in map(_tool, listed) if tool is not None]
        if left_out := len(listed) - len(result["tools"]):
            result["_meta"] = {LEFT_OUT: left_out}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """What is read of a part of a result; words in the place of one that makes no sense."""
    match part:
        case {"type": "text", "text": str()}:
            return {"type": "text", "text": part["text"]}
        case {"type": "image" | "audio" as kind, "data": str()}:
            return {"type": kind, "data": part["data"], "mimeType": str(part.get("mimeType", ""))}
        case {"type": "resource", "resource": {"uri": str(), "text": str()} as resource}:
            return {"type": "resource", "resource": {"uri": resource["uri"], "text": resource["text"]}}
        case {"type": "resource_link", "uri": str(uri)}:
            names = {key: part[key] for key in ("name", "title") if isinstance(part.get(key), str)}
            return {"type": "resource_link", "name": uri, "uri": uri, **names}
    return {"type": "text", "text": f"[{str(part.get('type', ''))[:40] or 'something'} that Parley can't show]"}


def _tool(tool: Any) -> dict[str, Any] | None:
    """What is read of a tool; None where it can't be called."""
    if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
        return None
    if not isinstance(schema := tool.get("inputSchema"), dict) or schema.get("type", "object") != "object":
        return None
    said: dict[str, Any] = {"name": name, "inputSchema": {"type": "object", **schema}}
    said |= {key: tool[key] for key in ("title", "description") if isinstance(tool.get(key), str)}
    if isinstance(annotations := tool.get("annotations"), dict):
        said["annotations"] = _annotations(annotations)
    return said


def _annotations(said: dict[str, Any]) -> dict[str, Any]:
    """Only what is really true or false is a hint: «yes» is nothing that anybody should act on."""
    kept = {key: said[key] for key in _HINTS if isinstance(said.get(key), bool)}
    return kept | ({"title": said["title"]} if isinstance(said.get("title"), str) else {})


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # half of a surrogate pair, or a number of more than 64 bits
        return orjson.dumps(_writable(value))


def _writable(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case dict():
            return {clean_text(key): _writable(item) for key, item in value.items()}
        case list():
            return [_writable(item) for item in value]
        case bool():
            return value
        case int() if not -(2**63) <= value < 2**64:
            return float(value) if abs(value) < 1e300 else None
    return value


def taken(washed_parts: Iterator[R]) -> tuple[list[R], NotAMessage | None]:
    """What comes before it is no message, and why it went no further."""
    parts: list[R] = []
    try:
        parts.extend(washed_parts)
    except NotAMessage as error:
        return parts, error
    return parts, None


class _Washer:
    """Counts what a server asks by itself."""

    def __init__(self) -> None:
        self._requests = 0

    def _is_heard(self, message: Washed) -> bool:
        self._requests += message.is_request
        return not message.is_request or self._requests <= REQUESTS_MAX


class EventWasher(_Washer):
    """Washes the messages in a stream of events, as it comes; everything else about the events stays."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that `chunk` completes. Raises NotAMessage."""
        text = self._rest + chunk
        # The second half of a line's end may be still to come.
        end = len(text) - text.endswith(b"\r")
        *lines, rest = _LINE_END.split(text[:end])
        self._rest = rest + text[end:]
        for line in lines:
            if line:
                self._take(line)
            elif self._lines and (event := self._event()):
                yield event

    def _take(self, line: bytes) -> None:
        if not line.startswith(b":"):
            self._lines.append(line)

    def _event(self) -> bytes:
        """The event that is complete; b"" where the server asks too often."""
        data = [line[5:].removeprefix(b" ") for line in self._lines if line.startswith(b"data:")]
        kept = [line for line in self._lines if not line.startswith(b"data:")]
        self._lines = []
        payload = b"\n".join(data)
        if payload.strip():
            message = washed(payload)
            if not self._is_heard(message):
                return b""
            payload = message.line
        return b"\n".join([*kept, *([b"data: " + payload] if data else []), b"\n"])


class LineWasher(_Washer):
    """Takes the messages out of what a program writes, one on each line; lines that are none of them nobody reads.

    A program may write as much for each request as a server over HTTP may answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rest: list[bytes] = []
        self._taken_bytes, self._taken_lines = 0, 0
        self._answers = 1

    def expect_answer(self) -> None:
        """It is asked something more."""
        self._answers += 1

    def feed(self, chunk: bytes) -> Iterator[Washed]:
        """The messages that `chunk` completes. Raises NotAMessage after them."""
        if not self._taken_bytes:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        lines = self._lines_in(chunk)
        self._taken_bytes += len(chunk)
        self._taken_lines += len(lines)
        for line in lines:
            if (message := self._message_in(line)) is not None and self._is_heard(message):
                yield message
        if (
            sum(map(len, self._rest)) > settings.TOOL_ANSWER_MAX_BYTES
            or self._taken_bytes > self._answers * settings.TOOL_ANSWER_MAX_BYTES
            or self._taken_lines > self._answers * settings.TOOL_ANSWER_MAX_LINES
        ):
            raise TooMuch

    def _lines_in(self, chunk: bytes) -> list[bytes]:
        first, *others = chunk.split(b"\n")
        if not others:
            self._rest.append(first)
            return []
        whole, self._rest = b"".join([*self._rest, first]), [others.pop()]
        return [whole, *others]

    def _message_in(self, line: bytes) -> Washed | None:
        """None for a line that is no message: programs greet, and log, where only messages should be."""
        if _MESSAGES.match(line):
            return washed(line)
        if not line.lstrip().startswith(b"{") or b'"jsonrpc"' not in line:
            return None
        try:
            message = _decoded(line)
        except ValueError:
            return None
        return _washed(message, size=len(line)) if message.get("jsonrpc") == "2.0" else None
