"""How bodies are read and written: JSON in UTF-8, within limits, and nothing else."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from chats.errors import Invalid, TooLarge
from chats.money import plain_usd

BODY_MAX_DEPTH = 32
BODY_MAX_KEYS = 1_000
BODY_MAX_ITEMS = 2_000


class JSONRenderer(BaseRenderer):
    """Moments are UTC with Z, ids and exact decimals are strings."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z)


class JSONParser(BaseParser):
    """One object, at most REQUEST_MAX_BYTES long, 32 levels deep, with 1,000 keys, each said once, and 2,000 items."""

    media_type = "application/json"

    def parse(self, stream: Any, *_: Any, **__: Any) -> dict[str, Any]:
        try:
            body = json.loads(_read(stream).decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            # Python quotes up to the whole body for some errors; the first words say where it is.
            raise Invalid(f"The body is not valid JSON: {str(error)[:200]}") from None
        if not isinstance(body, dict):
            raise Invalid("The body must be a JSON object, like {…}.")
        _check_shape(body)
        return body


class AlwaysJSON(DefaultContentNegotiation):
    """Answers are JSON whatever Accept says; a view that can stream looks at Accept itself."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 - the signature is DRF's
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


def _read(stream: Any) -> bytes:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    too_large = TooLarge(f"The body is larger than {limit:,} bytes.")
    try:
        raw: bytes = stream.read(limit + 1)
    except RequestDataTooBig:
        raise too_large from None
    if len(raw) > limit:
        raise too_large
    return raw


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain_usd(value)
    raise TypeError


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
