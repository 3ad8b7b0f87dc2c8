"""Bodies of requests: JSON in UTF-8, and within limits that keep it from costing more than it says."""

import json
from typing import Any

from chats.errors import Invalid

BODY_MAX_DEPTH = 32
BODY_MAX_KEYS = 1_000
BODY_MAX_ITEMS = 2_000


class NotJson(Invalid):
    message = "The body is not valid JSON."


def json_object(raw: bytes) -> dict[str, Any]:
    """The one object in `raw`: 32 levels deep at most, with 1,000 keys, each said once, and 2,000 items.

    Raises NotJson, or Invalid for what is not such an object.
    """
    try:
        body = json.loads(raw.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        # Python quotes up to the whole body for some errors; the first words say where it is.
        raise NotJson(f"The body is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object, like {…}.")
    _check_shape(body)
    return body


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_shape(body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    keys = items = depth = 0
    while level:
        depth += 1
        keys += sum(len(item) for item in level if isinstance(item, dict))
        items += sum(len(item) for item in level if isinstance(item, list))
        if depth > BODY_MAX_DEPTH or keys > BODY_MAX_KEYS or items > BODY_MAX_ITEMS:
            raise Invalid(
                f"At most {BODY_MAX_DEPTH} levels, {BODY_MAX_KEYS:,} keys and {BODY_MAX_ITEMS:,} items are allowed"
                " in a body."
            )
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
