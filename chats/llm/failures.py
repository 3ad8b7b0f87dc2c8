"""What a provider's refusal means: from an HTTP status, or an error object inside a stream, to our few errors."""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from chats.llm.cleaning import clean
from chats.llm.decoding import decode
from chats.llm.errors import (
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderNonsense,
    ProviderRefused,
    ProviderRejected,
)
from chats.llm.http import host_of
from chats.llm.values import Target

DETAIL_MAX_LENGTH = 300
RETRY_AFTER_MAX_SECONDS = 86_400.0
# Shorter "keys" are words like "none" that people type for local servers; hiding them would garble what is said.
_SECRET_MIN_LENGTH = 8
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)

_BUSY = (ProviderBusy, "It is busy: wait a moment, then try again or choose another model.")
_LOCKED = (ProviderRefused, "Staff should check the API key and what it may use.")
_NONSENSE = (ProviderNonsense, "Staff should check the base URL.")
_MEANINGS: Mapping[int, tuple[type[ProviderError], str]] = {
    401: _LOCKED,
    402: (ProviderRefused, "Staff should check the account's credit and quota at the provider."),
    403: _LOCKED,
    404: (ProviderRejected, "Staff should check the model id and the base URL."),
    408: (ProviderBroken, "Try again in a moment."),
    413: (ProviderRejected, "Shorten the conversation or start a new chat."),
    429: _BUSY,
    503: _BUSY,
    529: _BUSY,
}
_MEANINGS_BY_HUNDRED: Mapping[int, tuple[type[ProviderError], str]] = {
    3: (ProviderRejected, "Redirects are not followed: staff should enter the final address as base URL."),
    4: (ProviderRejected, "Change the message or the model's settings, or choose another model."),
    5: (ProviderBroken, "The fault is on its side: try again, or choose another model."),
}

# Error objects name their kind in words; each stands for the status it would have had before the stream began.
_STATUS_OF_WORDS = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def failure_of_status(status: int, *, body: bytes, target: Target, headers: Mapping[str, str]) -> ProviderError:
    """The error that an answer with this status, other than success, stands for."""
    detail = words_of(body, target=target)
    if 300 <= status < 400:
        detail = _speakable(headers.get("Location", ""), target=target)
    error = _error_of(body)
    if isinstance(error, dict) and "insufficient_quota" in (error.get("code"), error.get("type")):
        status = HTTPStatus.PAYMENT_REQUIRED
    return _failure(status, said=f"status {status}", detail=detail, target=target, headers=headers)


def failure_of_object(error: object, *, target: Target) -> ProviderError:
    """The error that an error object inside a stream stands for."""
    detail = _speakable(_message_of(error), target=target)
    return _failure(_status_in(error), said="an error", detail=detail, target=target, headers={})


def _failure(status: int, *, said: str, detail: str, target: Target, headers: Mapping[str, str]) -> ProviderError:
    kind, advice = _meaning_of(status)
    quote = f": «{detail}»" if detail else ""
    message = f"{host_of(target)} answered with {said}{quote}. {advice}"
    wait = retry_after_seconds(headers.get("Retry-After", "")) if kind.is_retryable else None
    return kind(message, detail=detail, retry_after_seconds=wait)


def _meaning_of(status: int) -> tuple[type[ProviderError], str]:
    """The kind of error, and what to do next."""
    return _MEANINGS.get(status) or _MEANINGS_BY_HUNDRED.get(status // 100, _NONSENSE)


def words_of(body: bytes, *, target: Target) -> str:
    """The provider's own words in an error body, JSON or HTML, as one line without the key."""
    error = _error_of(body)
    if error is not None:
        return _speakable(_message_of(error), target=target)
    text = body.decode("utf-8", "replace")
    return _speakable(html.unescape(_TAGS.sub(" ", text)), target=target)


def _error_of(body: bytes) -> object:
    """What stands under "error" in a JSON body, the body itself if nothing does, None if it is not JSON."""
    try:
        value = decode(body)
    except ValueError:
        return None
    if isinstance(value, list) and value:  # Google wraps its errors into a list
        value = value[0]
    if isinstance(value, dict):
        return value.get("error") or value
    return None


def _message_of(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("msg") or error.get("code") or ""
    return error if isinstance(error, str) else ""


def _speakable(text: str, *, target: Target) -> str:
    key = target.api_key.strip()
    if len(key) >= _SECRET_MIN_LENGTH:
        text = text.replace(key, "…")
    line = " ".join(clean(text).split()).rstrip(".")
    return line if len(line) <= DETAIL_MAX_LENGTH else line[: DETAIL_MAX_LENGTH - 1] + "…"


def _status_in(error: object) -> int:
    if not isinstance(error, dict):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    for word in (error.get("code"), error.get("status"), error.get("type")):
        if isinstance(word, int) and 400 <= word < 600:
            return word
        if isinstance(word, str) and word.isdecimal() and 400 <= int(word[:4]) < 600:
            return int(word[:4])
        if isinstance(word, str) and word.lower() in _STATUS_OF_WORDS:
            return _STATUS_OF_WORDS[word.lower()]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def retry_after_seconds(value: str, *, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as an HTTP date; None if it says neither."""
    value = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return min(float(value), RETRY_AFTER_MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)
