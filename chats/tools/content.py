"""What a tool has answered, cut to what is kept and to what a model reads. Nothing in it is believed."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.conf import settings

from chats.cleaning import check_json, clean_text
from chats.errors import Invalid
from chats.tools.values import Outcome
from chats.tools.washing import PARTS_MAX

CUT = "\n\n[… cut: the rest of this result was too long]"
URI_MAX_CHARACTERS = 2_000
NAME_MAX_CHARACTERS = 200
# By the first bytes of the file, whatever the server calls it.
_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def outcome_of(blocks: Sequence[Mapping[str, Any]], *, structured: Any = None, is_error: bool = False) -> Outcome:
    """The blocks of a result, as MCP has them."""
    room = _Room(settings.TOOL_RESULT_MAX_BYTES)
    parts = [part for block in blocks[:PARTS_MAX] if (part := _part_of(block, room)) is not None]
    room.is_full |= len(blocks) > PARTS_MAX
    value, is_dropped = _structured(structured, room)
    text = "\n\n".join(said for part in parts if (said := _said(part)))
    if not text.strip() and value is not None:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    shown, is_cut = cut(text, settings.TOOL_RESULT_MODEL_MAX_BYTES)
    return Outcome(shown, is_error, parts, value, is_cut or room.is_full or is_dropped)


def cut(text: str, max_bytes: int) -> tuple[str, bool]:
    """`text` up to so many bytes of UTF-8, with a mark where it was cut; and whether it was."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text, False
    return encoded[: max(0, max_bytes - len(CUT.encode()))].decode(errors="ignore") + CUT, True


class _Room:
    """What may still be kept."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.is_full = False

    def take(self, size: int) -> bool:
        if size > self._left:
            self.is_full = True
            return False
        self._left -= size
        return True

    def text(self, text: str) -> str:
        shown, is_cut = cut(clean_text(text), self._left)
        self.is_full |= is_cut
        self._left -= min(self._left, len(shown.encode()))
        return shown


def _part_of(block: Mapping[str, Any], room: _Room) -> dict[str, Any] | None:
    match block:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": room.text(text)}
        case {"type": "image", "data": str(data)}:
            return _image(data, room)
        case {"type": "resource", "resource": {"text": str(text)}}:
            return {"type": "text", "text": room.text(text)}
        case {"type": "resource_link", "uri": uri}:
            name = clean_text(str(block.get("title") or block.get("name") or ""))[:NAME_MAX_CHARACTERS]
            return {"type": "link", "uri": clean_text(str(uri))[:URI_MAX_CHARACTERS], "name": name}
    kind = clean_text(str(block.get("type", "")))[:40]
    return {"type": "text", "text": f"[{kind or 'something'} that Parley can't show]"}


def kind_of_image(data: bytes) -> str:
    """The content type of an image that may be shown, by its first bytes; "" for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _IMAGES.items() if data.startswith(start)), "")


def _image(data: str, room: _Room) -> dict[str, Any]:
    data = "".join(data.split())
    try:
        kind = kind_of_image(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        kind = ""
    if not kind:
        return {"type": "text", "text": "[an image in a format that Parley does not show]"}
    if not room.take(len(data)):
        return {"type": "text", "text": "[an image that was too large to keep]"}
    return {"type": "image", "mime_type": kind, "data": data}


def _structured(value: Any, room: _Room) -> tuple[Any, bool]:
    """The JSON value beside the text, if it can be kept; and whether it was dropped."""
    if value is None:
        return None, False
    try:
        kept = check_json(value, field="structured", max_bytes=settings.TOOL_RESULT_MAX_BYTES)
    except (Invalid, TypeError, ValueError):
        return None, True
    return (kept, False) if room.take(len(orjson.dumps(kept))) else (None, True)


def _said(part: Mapping[str, Any]) -> str:
    """A part as a model reads it."""
    match part:
        case {"type": "text", "text": text}:
            return str(text)
        case {"type": "image"}:
            return "[an image, which is shown to the user]"
        case {"type": "link", "uri": uri, "name": name}:
            return f"{name}: {uri}" if name else str(uri)
    return ""
