"""From a request of Django's to the ASGI application that speaks MCP, and from what that sends to a response.

So it comes behind the same middleware, threads and limits as all else, and ends with its client's connection.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from django.http import HttpRequest, StreamingHttpResponse

from chats.mcp_api.calls import Call
from chats.mcp_api.errors import INTERNAL_ERROR, common_headers, error_body
from chats.replies.connections import STREAMS

SESSION_HEADER = "Mcp-Session-Id"
CALL_KEY = "parley.call"
EVENT_STREAM = "text/event-stream"
# Whoever is in between must pass each event on at once.
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
# These are ours: who asks is known, and how the answer travels is the server's business.
HIDDEN = {"authorization", "cookie"}
OURS = {"connection", "transfer-encoding", "cache-control"}

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

logger = structlog.get_logger(__name__)


class Speaker(Protocol):
    """An ASGI application for one request: it streams where the answer takes a while, and else sends it whole."""

    def __call__(
        self, scope: dict[str, Any], receive: Receive, send: Send, *, message: dict[str, Any]
    ) -> Awaitable[None]: ...


@dataclass
class Exchange:
    """A call and its answer. The answer is written on the event loop, as the body of a response."""

    call: Call
    message: dict[str, Any]
    speaker: Speaker
    _is_stream: bool = False

    def response(self, request: HttpRequest) -> StreamingHttpResponse:
        response = StreamingHttpResponse(content_type="application/json", headers=common_headers())
        response.streaming_content = self._body(response, _scope_of(request, self.call), request.body)
        return response

    async def _body(self, response: StreamingHttpResponse, scope: dict[str, Any], raw: bytes) -> AsyncIterator[bytes]:
        with STREAMS.open(self.call.principal) as self.call.stream:
            # Not bounded: one whole answer, or a line of progress now and then for as long as a reply takes.
            sent: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue()
            speaking = asyncio.create_task(self._speak(scope, raw, sent))
            try:
                while (part := await sent.get()) is not None:
                    if part["type"] == "http.response.start":
                        self._begin(response, part)
                    is_body = part["type"] == "http.response.body"
                    if is_body or self._is_stream:
                        yield part.get("body", b"")
            finally:
                speaking.cancel()
                await asyncio.wait({speaking})
                await self.call.leave()

    async def _speak(
        self, scope: dict[str, Any], raw: bytes, sent: asyncio.Queue[MutableMapping[str, Any] | None]
    ) -> None:
        body = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if body:
                return body.pop()
            # That the client hangs up is known where the response is sent, and cancels this task.
            return await asyncio.get_running_loop().create_future()

        try:
            await self.speaker(scope, receive, sent.put, message=self.message)
        except Exception:
            logger.exception("mcp_failed")
            sent.put_nowait({"type": "http.response.body", "body": self._failure()})
        finally:
            sent.put_nowait(None)

    def _failure(self) -> bytes:
        said = "Something went wrong on our side."
        body = error_body(INTERNAL_ERROR, said, code="internal", to=self.message["id"])
        return b"event: message\ndata: %b\n\n" % body if self._is_stream else body

    def _begin(self, response: StreamingHttpResponse, start: MutableMapping[str, Any]) -> None:
        response.status_code = start["status"]
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in start["headers"]}
        for name in headers.keys() - OURS:
            response.headers[name] = headers[name]
        self._is_stream = headers.get("content-type", "").startswith(EVENT_STREAM)
        if self._is_stream:
            for name, value in STREAM_HEADERS.items():
                response.headers[name] = value
        if self.message["method"] == "initialize":
            # Nothing is kept under it: it tells the requests of one client from those of another with the same key.
            response.headers[SESSION_HEADER] = secrets.token_urlsafe(24)


def _scope_of(request: HttpRequest, call: Call) -> dict[str, Any]:
    headers = [
        (name.lower().encode("latin1"), value.encode("latin1"))
        for name, value in request.headers.items()
        if name.lower() not in HIDDEN
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": None,
        "server": None,
        CALL_KEY: call,
    }
