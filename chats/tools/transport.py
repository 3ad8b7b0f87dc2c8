"""The guarded HTTP of this house under the client of MCP: httpx2's interface, carried by aiohttp.

One guard for all that goes out (`accounts.outbound`): every address is checked, resolved once and connected to as
resolved, every redirect is a request of its own. What comes in is counted before it is kept.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import aiohttp
import httpx2
import orjson
from yarl import URL

from accounts.outbound import AddressDenied, AddressPolicy
from chats.llm.http import GuardedResolver, is_compressed
from chats.tools.addresses import CONNECTION_HEADERS
from chats.tools.errors import ServerNonsense, ServerUnreachable, SignInNeeded, ToolServerError
from chats.tools.washing import EventWasher, NotAMessage, TooMuch, taken, washed

Refusal = Callable[[aiohttp.ClientResponse, httpx2.URL], ToolServerError | None]

EVENTS = "text/event-stream"
READ_BYTES = 65_536
RESUMED_MAX = 5  # of one connection
CANCELS = b'"method":"notifications/cancelled"'
CANCEL_SECONDS = 1.0


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests where `policy` lets them.

    What goes wrong is answered as an error of JSON-RPC, so that it is the end of that request and of no other on the
    same connection: `failure_in` finds the cause in it again.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        connect_seconds: float,
        max_bytes: int,
        max_lines: int,
        refusal_in: Refusal | None = None,
        washes: bool = True,
    ) -> None:
        """`refusal_in`: which answers are failures, instead of those in MCP. `washes`: they are messages of MCP."""
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(policy), limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )
        self._policy, self._connect_seconds = policy, connect_seconds
        self._max_bytes, self._max_lines = max_bytes, max_lines
        self._refusal_in = refusal_in or _refusal_in
        self.washes = washes
        self._resumed = 0
        self._failures: dict[str, ToolServerError] = {}
        self.last_failure: ToolServerError | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        if request.method == "GET" and EVENTS in request.headers.get("accept", ""):
            # Without an id, a stream on which a server may say what it wants, whenever it wants: nobody here listens.
            # With one it is to go on with an answer that broke off; the client would ask as often as a server likes.
            self._resumed += "last-event-id" in request.headers
            if "last-event-id" not in request.headers or self._resumed > RESUMED_MAX:
                return httpx2.Response(405, request=request)
        try:
            self._policy.check_url(str(request.url))
            response = await self._send(request, await request.aread())
        except AddressDenied as error:
            return self._answer_with(ServerUnreachable(str(error)), request)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return self._answer_with(_failure_of(error, host=host), request)
        if failure := self._refusal_in(response, request.url):
            response.close()
            return self._answer_with(failure, request)
        headers = [(name, value) for name, value in response.headers.items() if name.lower() != "content-encoding"]
        body = _Body(self, response, host=host)
        return httpx2.Response(response.status, headers=headers, stream=body, request=request)

    async def aclose(self) -> None:
        await self._session.close()

    def failure_in(self, words: str) -> ToolServerError | None:
        """The failure that an error's words are about, if it is one of this transport's own."""
        return next((failure for mark, failure in self._failures.items() if mark in words), None)

    def mark(self, failure: ToolServerError) -> str:
        """Words by which `failure_in` finds this again, and which no server can say."""
        mark = secrets.token_hex(8)
        self._failures[mark] = self.last_failure = failure
        return mark

    def check_size(self, *, size: int, lines: int, host: str) -> None:
        """Raises StreamError when an answer has become more than is taken."""
        if size > self._max_bytes or lines > self._max_lines:
            failure = ServerNonsense(f"{host} answered with more than is taken.", is_begun=True)
            raise httpx2.StreamError(self.mark(failure))

    async def _send(self, request: httpx2.Request, body: bytes) -> aiohttp.ClientResponse:
        headers = [
            (name, value) for name, value in request.headers.multi_items() if name.lower() not in CONNECTION_HEADERS
        ]
        # No compression: a small body could swell without limit.
        headers += [("User-Agent", "Parley"), ("Accept-Encoding", "identity")]
        seconds = request.extensions.get("timeout", {}).get("read")
        if CANCELS in body:
            # What comes after it on this connection waits until it is taken.
            seconds = min(seconds or CANCEL_SECONDS, CANCEL_SECONDS)
        timeout = aiohttp.ClientTimeout(connect=self._connect_seconds, sock_read=seconds)
        url = URL(str(request.url), encoded=True)
        return await self._session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False, timeout=timeout
        )

    def _answer_with(self, failure: ToolServerError, request: httpx2.Request) -> httpx2.Response:
        error = {"code": -32_050, "message": self.mark(failure)}
        body = orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})
        return httpx2.Response(502, headers={"Content-Type": "application/json"}, content=body, request=request)


class _Body(httpx2.AsyncByteStream):
    """What comes of an answer, up to its limits."""

    def __init__(self, transport: GuardedTransport, response: aiohttp.ClientResponse, *, host: str) -> None:
        self._transport, self._response, self._host = transport, response, host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._transport.washes:
            parts = self._chunks()
        elif self._response.content_type == EVENTS:
            parts = self._events()
        else:
            parts = self._whole()
        try:
            async with aclosing(parts):
                async for part in parts:
                    yield part
        except NotAMessage as error:
            what = "more than is taken" if isinstance(error, TooMuch) else "something that is not MCP"
            words = f"{self._host} answered with {what}."
            raise httpx2.StreamError(self._transport.mark(ServerNonsense(words, is_begun=True))) from None

    async def _events(self) -> AsyncGenerator[bytes, None]:
        washer = EventWasher()
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                # Off the event loop: others are not to wait while it is read.
                events, nonsense = await asyncio.to_thread(taken, washer.feed(chunk))
                for event in events:
                    yield event
                if nonsense is not None:
                    raise nonsense

    async def _whole(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._chunks()) as chunks:
            body = b"".join([chunk async for chunk in chunks])
        is_message = self._response.content_type == "application/json" and body.strip()
        yield (await asyncio.to_thread(washed, body)).line if is_message else body

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        size, lines = 0, 0
        is_stream = self._response.content_type == EVENTS
        try:
            async for chunk in self._response.content.iter_chunked(READ_BYTES):
                size += len(chunk)
                # An event has at least a line; so has a comment, of which nobody hears.
                lines += (chunk.count(b"\n") or chunk.count(b"\r")) if is_stream else 0
                self._transport.check_size(size=size, lines=lines, host=self._host)
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            failure = _failure_of(error, host=self._host, is_begun=True)
            raise httpx2.StreamError(self._transport.mark(failure)) from None
        finally:
            self._response.close()

    async def aclose(self) -> None:
        self._response.close()


def compression_in(response: aiohttp.ClientResponse, url: httpx2.URL) -> ToolServerError | None:
    """A body that can't be read."""
    if is_compressed(response):
        return ServerNonsense(f"{url.host} compressed its answer although it was asked not to.", is_begun=True)
    return None


def _refusal_in(response: aiohttp.ClientResponse, url: httpx2.URL) -> ToolServerError | None:
    """What a status says, or a body that can't be read; 400 and 404 have their own meaning in MCP."""
    status, host = response.status, url.host
    if "Location" in response.headers and 300 <= status < 400:
        try:
            target = url.join(response.headers["Location"])
        except (httpx2.InvalidURL, ValueError):
            return ServerNonsense(f"{host} sends us on to what is no address.")
        if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
            # Credentials are for this host. Whoever trusts the other may say so.
            where = f"{target.scheme}://{target.host}"[:200]
            return ServerUnreachable(f"{host} sends us on to {where}. If that is right, enter its address.")
    if status in {401, 403}:
        challenge = ", ".join(response.headers.getall("WWW-Authenticate", []))
        words = f"{host} let nobody in ({status}). Check its credentials."
        return SignInNeeded(words, status=status, challenge=challenge)
    if status >= 500 and response.content_type != "application/json":
        return ServerUnreachable(f"{host} answered with an error ({status}). Try again later.", is_begun=True)
    return compression_in(response, url)


def _failure_of(error: BaseException, *, host: str, is_begun: bool = False) -> ToolServerError:
    match error:
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return ServerUnreachable(f"{host} did not answer in time. Is it running?", is_begun=is_begun)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return ServerUnreachable(f"{host} shows a certificate that can't be trusted.")
        case aiohttp.ClientConnectorError():
            return ServerUnreachable(f"{host} can't be reached. Check its address, and that it is running.")
        case aiohttp.ClientResponseError():
            return ServerNonsense(f"{host} does not speak HTTP as it should.", is_begun=is_begun)
        case _:
            return ServerUnreachable(f"{host} closed the connection before it was done.", is_begun=True)
