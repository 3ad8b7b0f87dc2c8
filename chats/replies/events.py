"""Events as they go out, over WebSocket and SSE alike: their JSON, and the limit of bytes that none of them exceeds.

Text is cut before it is encoded: an answer into deltas by `pieces`, a snapshot into parts by `snapshot`. A stored
message that is too long for its event is named there instead of carried.
"""

from collections.abc import Iterator
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
    if len(text) <= _characters_in(EVENT_MIN_BYTES):
        return [text]
    size = _characters_in(settings.EVENT_MAX_BYTES)
    return [text[start : start + size] for start in range(0, len(text), size)]


def snapshot(reply: str, seq: int, text: str, reasoning: str) -> Iterator[Numbered]:
    """`reply.snapshot` with what stands at `seq`: one event if it fits, else in parts, text first.

    They are made one by one, as the viewer takes them.
    """
    head = {"seq": seq, "reply": reply, "type": "reply.snapshot"}
    length = len(text) + len(reasoning)
    if length <= settings.EVENT_MAX_BYTES:
        whole = orjson.dumps({**head, "text": text, "reasoning": reasoning})
        if len(whole) <= settings.EVENT_MAX_BYTES:
            yield seq, whole
            return
    size = _characters_in(settings.EVENT_MAX_BYTES)
    parts = -(-length // size)
    for part in range(1, parts + 1):
        start, end = (part - 1) * size, part * size
        shown = {"text": text[start:end], "reasoning": reasoning[max(0, start - len(text)) : max(0, end - len(text))]}
        yield seq if part == parts else None, encode({**head, "part": part, "parts": parts, **shown})


def _characters_in(size: int) -> int:
    """How many characters fit an event of `size` bytes, whichever they are."""
    return (size - FRAME_MAX_BYTES) // CHARACTER_MAX_BYTES


def _by_reference(event: dict[str, Any]) -> dict[str, Any]:
    message = event.get("message")
    if not isinstance(message, dict):
        raise EventTooLarge(event["type"])
    short = {n: value if len(orjson.dumps(value)) <= SHORT_FIELD_BYTES else None for n, value in message.items()}
    return {**event, "message": short, "message_url": reverse("api:messages-detail", args=[message["id"]])}
