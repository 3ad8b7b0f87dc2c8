"""What people and programs write, made fit for both databases and held within limits. No rows, no HTTP.

Neither PostgreSQL text nor its JSON can hold NUL or half of a surrogate pair. They become U+FFFD on
every database alike.
"""

import re
from collections.abc import Iterable
from typing import Any

import orjson
from django.conf import settings

from chats.errors import Invalid, TooLarge

TITLE_MAX_LENGTH = 200
SPACE_MAX_LENGTH = 100
TAG_MAX_LENGTH = 100
TAGS_MAX = 50
NOTEBOOK_MAX_LENGTH = 200
NOTEBOOKS_MAX = 100
EXTRA_DATA_MAX_BYTES = 16_000
JSON_MAX_DEPTH = 32
AUTOMATIC_TITLE_MAX_LENGTH = 60

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def clean_text(text: str) -> str:
    """`text` as both databases can store it."""
    return _UNSTORABLE.sub("\ufffd", text)


def check_text(text: str, *, field: str = "content") -> str:
    """`text`, storable. Raises TooLarge above MESSAGE_MAX_BYTES of UTF-8."""
    cleaned = clean_text(text)
    size = len(cleaned.encode())
    if size > settings.MESSAGE_MAX_BYTES:
        limit = settings.MESSAGE_MAX_BYTES
        message = f"This text has {size:,} bytes; at most {limit:,} are allowed. Shorten it or send it in parts."
        raise TooLarge(message, fields={field: [message]})
    return cleaned


def check_line(text: str, *, field: str, max_length: int) -> str:
    """`text` on one line without white space around it. Raises Invalid above `max_length` characters."""
    line = _CONTROL.sub(" ", clean_text(text)).strip()
    if len(line) > max_length:
        raise _invalid(field, f"At most {max_length} characters are allowed.")
    return line


def check_lines(texts: Iterable[str], *, field: str, max_count: int, max_length: int) -> list[str]:
    """The distinct, not empty lines of `texts` in their order. Raises Invalid when they are too many or too long."""
    lines = [check_line(text, field=field, max_length=max_length) for text in texts]
    distinct = [line for line in dict.fromkeys(lines) if line]
    if len(distinct) > max_count:
        raise _invalid(field, f"At most {max_count} are allowed.")
    return distinct


def check_json(value: Any, *, field: str, max_bytes: int) -> Any:
    """`value` with storable strings. Raises Invalid above JSON_MAX_DEPTH, `max_bytes` or 64-bit numbers."""
    cleaned = _storable(value, field, JSON_MAX_DEPTH)
    size = len(orjson.dumps(cleaned))
    if size > max_bytes:
        raise _invalid(field, f"This has {size:,} bytes as JSON; at most {max_bytes:,} are allowed.")
    return cleaned


def is_deep(value: Any, *, levels: int = JSON_MAX_DEPTH) -> bool:
    """Whether a JSON value is nested deeper than so many levels. What is, not all that reads JSON can write."""
    if levels < 0:
        return True
    match value:
        case dict():
            return any(is_deep(item, levels=levels - 1) for item in value.values())
        case list():
            return any(is_deep(item, levels=levels - 1) for item in value)
    return False


def title_from(text: str) -> str:
    """The first words of `text` on one line, at most 60 characters: a chat's name until a better one is known."""
    words = " ".join(clean_text(text[:1000]).split())
    if len(words) <= AUTOMATIC_TITLE_MAX_LENGTH:
        return words
    whole_words = words[:AUTOMATIC_TITLE_MAX_LENGTH].rpartition(" ")[0]
    return (whole_words or words[: AUTOMATIC_TITLE_MAX_LENGTH - 1]).rstrip(" ,;:.-") + "…"


def _storable(value: Any, field: str, depth: int) -> Any:
    if depth < 0:
        raise _invalid(field, f"This is nested deeper than {JSON_MAX_DEPTH} levels.")
    match value:
        case str():
            return clean_text(value)
        case dict():
            return {clean_text(str(key)): _storable(item, field, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item, field, depth - 1) for item in value]
        case int() | float() if not abs(value) < 2**63:
            # PostgreSQL gives 1e300 back as a whole number of 301 digits, which no JSON reader here takes.
            raise _invalid(field, "Numbers must fit into 64 bits.")
    return value


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(fields={field: [message]})
