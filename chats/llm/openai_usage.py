"""Tokens as OpenAI-compatible servers report them, believed only as far as they make sense."""

from collections.abc import Mapping
from typing import Any

import orjson

from chats.llm.values import Usage

# No call reads or writes a hundred million tokens; whoever says so is not counting.
TOKENS_MAX = 100_000_000
RAW_MAX_BYTES = 4_096


def usage_of(raw: object) -> Usage | None:
    """The usage that `raw` reports, or None when it cannot be believed. Parts never exceed their whole."""
    if not isinstance(raw, dict):
        return None
    spent_in, spent_out = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    # Every request has some input: without any, nobody has counted.
    if not spent_in or spent_out is None:
        return None
    read, written = _part(raw, "prompt_tokens_details"), _part(raw, "completion_tokens_details")
    cached = min(_count(read.get("cached_tokens")) or 0, spent_in)
    return Usage(
        input_tokens=spent_in,
        cached_input_tokens=cached,
        cache_write_tokens=min(_count(read.get("cache_write_tokens")) or 0, spent_in - cached),
        output_tokens=spent_out,
        reasoning_tokens=min(_count(written.get("reasoning_tokens")) or 0, spent_out),
        raw=_storable(raw),
    )


def _part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = raw.get(name)
    return part if isinstance(part, dict) else {}


def _count(value: object) -> int | None:
    # bool is an int to Python, but True is no number of tokens.
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _storable(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """`raw` if any database can store it as JSON, else nothing."""
    try:
        text = orjson.dumps(raw)
    except TypeError:
        return {}
    if len(text) > RAW_MAX_BYTES or b"\\u0000" in text:
        return {}
    stored: dict[str, Any] = orjson.loads(text)
    return stored
