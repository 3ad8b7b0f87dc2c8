"""Vectors of texts by `/embeddings`: https://platform.openai.com/docs/api-reference/embeddings"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from chats.llm import http, whole
from chats.llm.cleaning import clean
from chats.llm.errors import ProviderNonsense, ProviderRejected
from chats.llm.failures import failure_of_object
from chats.llm.openai_usage import usage_of
from chats.llm.values import Embedded, Limits, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS_MAX = 8_192
# A number takes up to 24 characters of JSON; what stands around them is little.
_BYTES_PER_NUMBER = 32


async def embed(target: Target, texts: Sequence[str], settings: Mapping[str, Any], limits: Limits) -> Embedded:
    """The vectors of `texts`, one each. Raises ProviderError. It takes no longer than a first token may."""
    deadline = asyncio.get_running_loop().time() + limits.first_token_seconds
    call = http.Call("POST", target, "embeddings", _body_of(target, texts, settings))
    max_bytes = len(texts) * DIMENSIONS_MAX * _BYTES_PER_NUMBER
    body = await whole.body_of(
        call, http.shared_session(), limits=limits, deadline=deadline, max_bytes=max_bytes, what="list of vectors"
    )
    if body is None:
        raise _no_vectors(target)
    # Some megabytes of numbers: not on the loop.
    return await asyncio.to_thread(_read, body, target, len(texts))


def _body_of(target: Target, texts: Sequence[str], settings: Mapping[str, Any]) -> bytes:
    body = {**settings, "model": target.model_id, "input": [clean(text) for text in texts]}
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ProviderRejected("The model's settings cannot be sent as JSON. Staff must correct them.") from error


def _read(body: bytes, target: Target, count: int) -> Embedded:
    value = whole.value_of(body)
    if not isinstance(value, dict):
        raise _no_vectors(target)
    if value.get("error"):
        raise failure_of_object(value["error"], target=target)
    vectors = _vectors_of(value.get("data"))
    if vectors is None or len(vectors) != count:
        raise _no_vectors(target)
    raw = value.get("usage")
    # There is no output, and not every server says so.
    usage = usage_of({"completion_tokens": 0, **raw}) if isinstance(raw, dict) else None
    return Embedded(vectors, usage)


def _vectors_of(data: object) -> "NDArray[np.float32] | None":
    """`data` as rows in the order of the texts, if that is what it is."""
    import numpy as np  # noqa: PLC0415 - 25 MB, needed only where a provider makes vectors

    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        return None
    if sorted(str(entry.get("index")) for entry in data) == sorted(str(place) for place in range(len(data))):
        data = sorted(data, key=lambda entry: int(entry["index"]))
    try:
        vectors = np.array([entry.get("embedding") for entry in data], dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    is_sound = vectors.ndim == 2 and 0 < vectors.shape[1] <= DIMENSIONS_MAX and np.isfinite(vectors).all()
    return vectors if is_sound else None


def _no_vectors(target: Target) -> ProviderNonsense:
    return ProviderNonsense(
        f"{http.host_of(target)} did not answer with a vector for each text. Staff should check that the model makes"
        " embeddings."
    )
