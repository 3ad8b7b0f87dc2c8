"""From a request of Django's to the ASGI application that speaks MCP, and from what that sends to a response.

So it comes behind the same middleware, threads and limits as all else, and ends with its client's connection.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, Protocol

import structlog
from django.http import HttpRequest, StreamingHttpResponse

from chats.mcp_api.calls import Call
from chats.mcp_api.errors import INTERNAL_ERROR, common_headers, error_body
from chats.replies.connections import STREAMS
from chats.replies.follow import EVENT_STREAM, STREAM_HEADERS

SESSION_HEADER = "Mcp-Session-Id"
CALL_KEY = "parley.call"
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


class Exchange:
    """A call and its answer, which is the body of a response and written on the event loop.

    What goes on for it has tasks of its own: those who read a body may leave it in the middle without a word, and
    whatever has to be undone then must not be cut off by that. The response is closed in any case.
    """

    _living: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, call: Call, message: dict[str, Any], *, speaker: Speaker) -> None:
        self.call, self.message, self.speaker = call, message, speaker
        self._is_stream = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._is_left = False

    def response(self, request: HttpRequest) -> StreamingHttpResponse:
        self._scope, self._raw = _scope_of(request, self.call), request.body
        self._response = StreamingHttpResponse(self, content_type="application/json", headers=common_headers())
        return self._response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    def close(self) -> None:
        """The response is over, on whichever thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leave)

    async def _parts(self) -> AsyncIterator[bytes]:
        self._loop = asyncio.get_running_loop()
        # Not bounded: one whole answer, or a line of progress now and then for as long as a reply takes.
        sent: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue()
        living = asyncio.create_task(self._live(sent))
        self._living.add(living)
        living.add_done_callback(self._living.discard)
        try:
            while (part := await sent.get()) is not None:
                if part["type"] == "http.response.start":
                    self._begin(part)
                if self._is_stream or part["type"] == "http.response.body":
                    yield part.get("body", b"")
        finally:
            self._leave()

    def _leave(self) -> None:
        """Nobody reads any more: what is not done by now has nobody to be done for."""
        self._is_left = True
        if self._speaking is not None:
            self._speaking.cancel()

    async def _live(self, sent: asyncio.Queue[MutableMapping[str, Any] | None]) -> None:
        """From the beginning to the end of what the call is about. Nobody cancels this."""
        with STREAMS.open(self.call.principal) as self.call.stream:
            self._speaking = asyncio.create_task(self._speak(sent))
            if self._is_left:
                self._speaking.cancel()
            await asyncio.wait({self._speaking})
            sent.put_nowait(None)
            await self.call.leave()

    async def _speak(self, sent: asyncio.Queue[MutableMapping[str, Any] | None]) -> None:
        body = [{"type": "http.request", "body": self._raw, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if body:
                return body.pop()
            # That the client hangs up is known where the response is sent, and cancels this task.
            return await asyncio.get_running_loop().create_future()

        try:
            await self.speaker(self._scope, receive, sent.put, message=self.message)
        except Exception:
            logger.exception("mcp_failed")
            sent.put_nowait({"type": "http.response.body", "body": self._failure()})

    def _failure(self) -> bytes:
        said = "Something went wrong on our side."
        body = error_body(INTERNAL_ERROR, said, code="internal", to=self.message["id"])
        return b"event: message\ndata: %b\n\n" % body if self._is_stream else body

    def _begin(self, start: MutableMapping[str, Any]) -> None:
        response = self._response
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
