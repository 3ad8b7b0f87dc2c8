"""The one place that turns what went wrong into an answer: {"error": {code, message, fields?, request_id}}."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
import structlog
from django.core import exceptions as django_errors
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions as drf_errors
from rest_framework.response import Response

from accounts.errors import (
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    StorageFailed,
    TooLarge,
    Unauthenticated,
    is_out_of_room,
)
from accounts.statuses import status_of
from chats.cleaning import clean_text
from chats.errors import Unavailable

CODE_OF = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many",
}
RETRY_AFTER_SECONDS = 2
# Of what is wrong with a body, so much is said; whoever sends a thousand wrong items learns enough from these.
FIELDS_MAX = 50

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Problem:
    """One failure, ready to be shown."""

    status: int
    code: str
    message: str
    fields: Mapping[str, list[str]] = field(default_factory=dict)
    retry_after_seconds: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        # A refusal may quote what was sent, and half of a surrogate pair can't be sent back.
        shown: dict[str, Any] = {"code": self.code, "message": clean_text(self.message), "request_id": request_id()}
        fields = {clean_text(name): [clean_text(said) for said in reasons] for name, reasons in self.fields.items()}
        return {"error": shown | ({"fields": fields} if fields else {})}

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def request_id() -> str:
    """The id that the log lines of this request carry."""
    return structlog.contextvars.get_contextvars().get("request_id") or str(uuid.uuid4())


def common_headers() -> dict[str, str]:
    """What every answer of the API carries: nobody in between may keep it."""
    return {"Cache-Control": "no-store", "X-Request-ID": request_id()}


# ---------------------------------------------------------------- what went wrong -> problem
_SAME_AS: Mapping[type[Exception], type[DomainError]] = {
    Http404: NotFound,
    drf_errors.NotAuthenticated: Unauthenticated,
    django_errors.PermissionDenied: Forbidden,
    django_errors.RequestDataTooBig: TooLarge,
    django_errors.SuspiciousOperation: Invalid,
    UnreadablePostError: Invalid,
    DataError: Invalid,
    # No connection is free, a lock lasts too long, or the database is away: a retry makes sense.
    OperationalError: Unavailable,
    InterfaceError: Unavailable,
}


def problem_of(error: Exception) -> Problem | None:
    """How `error` is shown; None for what nobody expected."""
    match error:
        case DomainError():
            return problem_of_domain(error)
        case OSError() if is_out_of_room(error):
            return problem_of_domain(StorageFailed())
        case drf_errors.ValidationError():
            return _invalid(dict(islice(_flat(error.detail), FIELDS_MAX)))
        case django_errors.ValidationError():
            named = error.message_dict if hasattr(error, "error_dict") else {"non_field_errors": error.messages}
            return _invalid(named)
    for kind in type(error).__mro__:
        if kind in _SAME_AS:
            return problem_of_domain(_SAME_AS[kind]())
    return _problem_of_drf(error) if isinstance(error, drf_errors.APIException) else None


def problem_of_domain(error: DomainError) -> Problem:
    """How a failure that has a code of ours is shown."""
    status = status_of(error)
    seconds = getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS if status == 503 else None)
    return Problem(status, error.code, error.message, error.fields, seconds)


def _problem_of_drf(error: drf_errors.APIException) -> Problem:
    return Problem(error.status_code, CODE_OF.get(error.status_code, "invalid"), str(error.detail))


def _invalid(fields: Mapping[str, list[str]]) -> Problem:
    name, said = next(iter(fields.items()))
    message = said[0] if name == "non_field_errors" else f"{name}: {said[0]}"
    return Problem(400, "invalid", message, fields)


def _flat(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The nested detail of a validation error as ("tags.0", ["…"]) pairs."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list) and any(isinstance(inner, Mapping | list) for inner in detail):
        yield from _flat({str(index): inner for index, inner in enumerate(detail) if inner}, path)
    else:
        said = detail if isinstance(detail, list) else [detail]
        yield path or "non_field_errors", [str(sentence) for sentence in said]


# ---------------------------------------------------------------- problem -> answer
def handle_exception(error: Exception, _context: Mapping[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. What it does not know becomes `server_error` and a line in the log."""
    problem = problem_of(error)
    if problem and problem.status == 503:
        _logger.error("api_unavailable", error=str(error))
    return Response(problem.body, status=problem.status, headers=problem.headers) if problem else None


def answer(problem: Problem) -> HttpResponse:
    """`problem` outside of a DRF view."""
    headers = common_headers() | problem.headers
    return HttpResponse(orjson.dumps(problem.body), "application/json", problem.status, headers=headers)


@csrf_exempt  # nothing changes here, and a program's POST must hear the same as its GET
def unknown_address(request: HttpRequest) -> HttpResponse:
    """Whatever below /api/ has no view. A forgotten slash is answered by the way to the right address."""
    if not request.path.endswith("/") and _is_known(f"{request.path_info}/"):
        query = request.META.get("QUERY_STRING", "")
        # 308, because a client repeats its POST as a POST there.
        location = f"{request.path}/?{query}" if query else f"{request.path}/"
        return HttpResponse(status=308, headers=common_headers() | {"Location": location})
    return answer(Problem(404, "not_found", f"There is no address {request.path} in this API."))


def _is_known(path: str) -> bool:
    try:
        return resolve(path).func is not unknown_address
    except Resolver404:
        return False


def bad_request(_request: HttpRequest, error: Exception) -> HttpResponse:
    """handler400 below /api/: a request that no view has seen."""
    return answer(problem_of(error) or Problem(400, "invalid", Invalid.message))


def server_error(_request: HttpRequest) -> HttpResponse:
    """handler500 below /api/. Says nothing of the cause; the log has it under the same request id."""
    message = "Something went wrong on our side. Try again; if it stays, tell your administrator the request id."
    return answer(Problem(500, "internal", message))
