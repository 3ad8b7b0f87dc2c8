"""Events as they go out, over WebSocket and SSE alike: their JSON, and the limit of bytes that none of them exceeds.

Text is cut before it is encoded: an answer into deltas by `pieces`, a snapshot into parts by `snapshot`. A stored
message that is too long for its event is named there instead of carried.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.urls import reverse

# What a character can take at most: a control character is written as \u0001.
CHARACTER_MAX_BYTES = 6
# What an event with text takes beside it at most, with the lines that SSE puts around.
FRAME_MAX_BYTES = 256
# EVENT_MAX_BYTES can't be lower: an event has so much beside its text at most, names of models and a provider's words.
# What is shorter need not ask for the setting, which would take as long as encoding a word does.
EVENT_MIN_BYTES = 8_192
# In an event that would be too large, fields of its message that take more than this stay behind.
SHORT_FIELD_BYTES = 256

# An event with its number, which is None for a part that is not the last: with it a viewer has not come so far yet.
Numbered = tuple[int | None, bytes]


class EventTooLarge(Exception):
    """Something long was put into an event that has no way to be long."""


def encode(event: dict[str, Any]) -> bytes:
    """The JSON of what one event says, at most EVENT_MAX_BYTES. All that goes out to viewers is made here.

    When `event["message"]` would make it larger, its long fields are null and `message_url` says where it is whole.
    Raises EventTooLarge when it is not the message that is long.
    """
    encoded = orjson.dumps(event)
    if len(encoded) > EVENT_MIN_BYTES and len(encoded) > settings.EVENT_MAX_BYTES:
        encoded = orjson.dumps(_by_reference(event))
        if len(encoded) > settings.EVENT_MAX_BYTES:
            raise EventTooLarge(event["type"])
    return encoded


def pieces(text: str) -> list[str]:
    """`text` in pieces that fit an event each, whatever is in them; an empty one is one piece."""
    if len(text) <= (EVENT_MIN_BYTES - FRAME_MAX_BYTES) // CHARACTER_MAX_BYTES:
        return [text]
    return [text[span] for span in _spans(text)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in the message that a reply writes. Of its `calls` of tools the number: the reply has them."""

    text: str
    reasoning: str
    message: str
    calls: int


NOTHING = Standing("", "", "", 0)


def snapshot(reply: str, seq: int, standing: Standing) -> Iterator[Numbered]:
    """`reply.snapshot` with what stands at `seq`: one event if it fits, else in parts, text first.

    They are made one by one, as the viewer takes them.
    """
    text, reasoning = standing.text, standing.reasoning
    head = {"seq": seq, "reply": reply, "type": "reply.snapshot", "message": standing.message, "calls": standing.calls}
    if len(text) + len(reasoning) <= settings.EVENT_MAX_BYTES:
        whole = orjson.dumps({**head, "text": text, "reasoning": reasoning})
        if len(whole) <= settings.EVENT_MAX_BYTES:
            yield seq, whole
            return
    said = {"text": text, "reasoning": reasoning}
    spans = [(name, span) for name in said for span in _spans(said[name])]
    for part, (name, span) in enumerate(spans, 1):
        shown = {"text": "", "reasoning": "", name: said[name][span]}
        event = encode({**head, "part": part, "parts": len(spans), **shown})
        yield seq if part == len(spans) else None, event


def _spans(text: str) -> list[slice]:
    """Where to cut `text` so that each piece fits an event: as rarely as its characters allow."""
    room, spans, start = settings.EVENT_MAX_BYTES - FRAME_MAX_BYTES, [], 0
    while start < len(text):
        size = room
        while size > room // CHARACTER_MAX_BYTES and _size_of(text[start : start + size]) > room:
            size = max(size // 2, room // CHARACTER_MAX_BYTES)
        spans.append(slice(start, start + size))
        start += size
    return spans


def _size_of(text: str) -> int:
    return len(orjson.dumps(text)) - len('""')


def _by_reference(event: dict[str, Any]) -> dict[str, Any]:
    message = event.get("message")
    if not isinstance(message, dict):
        raise EventTooLarge(event["type"])
    short = {n: value if len(orjson.dumps(value)) <= SHORT_FIELD_BYTES else None for n, value in message.items()}
    return {**event, "message": short, "message_url": reverse("api:messages-detail", args=[message["id"]])}
