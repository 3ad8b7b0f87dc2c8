"""How bodies are read and written: JSON in UTF-8, within limits, and nothing else."""

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

from chats.bodies import json_object
from chats.errors import TooLarge
from chats.money import plain_usd


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
        return json_object(_read(stream))


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
