"""The one place that turns a refusal into an answer: an error of JSON-RPC under the HTTP status that other doors use.

Here are those that come before a tool is called; what goes wrong in one is told to the model, see `server`.
"""

from typing import Any

import orjson
import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse, UnreadablePostError

from accounts.statuses import status_of
from chats.bodies import NotJson
from chats.cleaning import clean_text
from chats.errors import DomainError, Invalid, TooLarge, Unavailable

# https://www.jsonrpc.org/specification#error_object; the last is of those that a server may define.
PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR, REFUSED = -32700, -32600, -32603, -32000
RETRY_AFTER_SECONDS = 2
EXPECTED = (DomainError, RequestDataTooBig, UnreadablePostError, InterfaceError, OperationalError)

logger = structlog.get_logger(__name__)


def refusal(error: Exception, **headers: str) -> HttpResponse:
    """The answer to a request that was not let in, or could not be read; `error` is one of EXPECTED."""
    said = _domain_error(error)
    status = status_of(said)
    if status == 503:
        logger.error("mcp_unavailable", error=str(error))
    headers |= common_headers()
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="mcp"'
    if seconds := getattr(said, "retry_after_seconds", RETRY_AFTER_SECONDS if status == 503 else None):
        headers["Retry-After"] = str(seconds)
    body = error_body(_rpc_code(said), clean_text(said.message), code=said.code)
    return HttpResponse(body, "application/json", status, headers=headers)


def method_not_allowed() -> HttpResponse:
    body = error_body(INVALID_REQUEST, "This server takes POST only; it sends nothing by itself, and keeps no session.")
    return HttpResponse(body, "application/json", 405, headers={"Allow": "POST", **common_headers()})


def error_body(rpc_code: int, message: str, *, code: str = "invalid", to: Any = None) -> bytes:
    """An error of JSON-RPC; `to` is the id of the request that it answers, if it is known."""
    data = {"code": code, "request_id": structlog.contextvars.get_contextvars().get("request_id")}
    return orjson.dumps({"jsonrpc": "2.0", "id": to, "error": {"code": rpc_code, "message": message, "data": data}})


def common_headers() -> dict[str, str]:
    """What every answer carries: nobody in between may keep it."""
    request_id: Any = structlog.contextvars.get_contextvars().get("request_id")
    return {"Cache-Control": "no-store"} | ({"X-Request-ID": request_id} if request_id else {})


def _domain_error(error: Exception) -> DomainError:
    match error:
        case DomainError():
            return error
        case RequestDataTooBig():
            return TooLarge()
        case InterfaceError() | OperationalError():
            return Unavailable()
    return Invalid()


def _rpc_code(error: DomainError) -> int:
    match error:
        case NotJson():
            return PARSE_ERROR
        case Invalid() | TooLarge():
            return INVALID_REQUEST
    return REFUSED
