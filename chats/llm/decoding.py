"""JSON as providers write it, which is not always JSON."""

import json
from typing import Any

import orjson


def decode(payload: bytes) -> Any:
    """The value of `payload`. Raises ValueError.

    Lone surrogates, NaN and broken UTF-8, which the fast and strict reader refuses, are read too: the text is cleaned
    later, and one bad character must not cost an answer.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            return json.loads(payload.decode("utf-8", "replace"))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
