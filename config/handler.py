"""Answers HTTP with Django's sync middleware and views, on a fixed pool of threads beside the event loop.

Django's own ASGI handler pays for a new thread and a new database connection a request; this one keeps both.
A response whose body is an async iterator (a stream of events) is sent on the loop and holds no thread.
"""

import asyncio
import io
import logging
import tempfile
import uuid
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import IO, Any, cast

from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import InterfaceError, OperationalError, close_old_connections
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from accounts.authentication import authenticate_bearer, principal_of_session
from accounts.errors import DomainError, StorageFailed, is_out_of_room
from config.turns import Turns, credential_of

logger = logging.getLogger("django.request")

# A body over the limit is still read to its end, up to this much: a client that can't finish sending sees
# a broken connection instead of the answer that tells why.
DRAIN_MAX_BYTES = 32_000_000
BODY_SECONDS = 60
# What a form puts around its file: boundaries, names, the other fields.
FORM_MAX_BYTES = 100_000
# Whoever sends so slowly, or faster, may take longer.
BYTES_PER_SECOND = 50_000


class ClientGone(Exception):
    """The client went away before it had sent its request."""


class SlowBody(Exception):
    """The client took longer than BODY_SECONDS to send its request."""


# Not rendered by a view: the request that would tell page from program never came.
SLOW_BODY = HttpResponse("The request took too long to arrive. Send it again.\n", status=408, content_type="text/plain")
# Of one credential. Each may take as much of the temporary disk as a file may have bytes.
UPLOADS_AT_ONCE = 3


class OversizedBody(io.RawIOBase):
    """Stands for a body over the limit. Whoever reads it learns that it is too large."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def read(self, _: int = -1) -> bytes:
        raise RequestDataTooBig(f"The request body is larger than {self._limit:,} bytes.")


class PooledHandler(BaseHandler):
    """An ASGI application for `http` scopes."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware(is_async=False)
        self.pool = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="web")
        # Whoever asks for much at once leaves a thread to the others.
        self.turns = Turns(max(1, settings.WEB_THREADS - 1))
        self.uploads = Turns(UPLOADS_AT_ONCE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        credential = credential_of(scope, session_cookie=settings.SESSION_COOKIE_NAME)
        try:
            body, size = await self.read(scope, receive, credential)
        except ClientGone:
            return
        except SlowBody:
            await self.send_response(SLOW_BODY, receive, send)
            return
        except OSError as error:
            if not is_out_of_room(error):
                raise
            logger.error("No room for the body of a request: %s", error)
            await self.send_response(no_room(scope), receive, send)
            return
        loop = asyncio.get_running_loop()
        async with self.turns.of(credential):
            response = await loop.run_in_executor(self.pool, self.respond, scope, body, size)
        try:
            await self.send_response(response, receive, send)
        finally:
            body.close()
            if response.streaming:
                await loop.run_in_executor(self.pool, response.close)

    async def read(self, scope: Any, receive: Any, credential: str) -> tuple[IO[bytes], int]:
        """The body of a request. What is large, and so goes to the disk, is taken of people who are known only."""
        if not is_upload(scope):
            return await read_body(receive, limit=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        loop = asyncio.get_running_loop()
        async with self.uploads.of(credential):
            has_right = await loop.run_in_executor(self.pool, is_known, scope, credential)
            most = settings.UPLOAD_MAX_BYTES + FORM_MAX_BYTES
            return await read_body(receive, limit=most if has_right else settings.DATA_UPLOAD_MAX_MEMORY_SIZE)

    def respond(self, scope: Any, body: IO[bytes], size: int) -> HttpResponseBase:
        """The response to one request, with its database connection given back. Runs on a pool thread."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        try:
            request = ASGIRequest(scope, body)
        except UnicodeDecodeError:
            return HttpResponse("Bad Request", status=400, content_type="text/plain")
        # A body sent in chunks names no length, and what reads it would take it for empty.
        request.META.setdefault("CONTENT_LENGTH", str(size))
        response = self.get_response(request)
        if response.streaming:
            # Its body may take minutes, and none of it reads rows through this thread's connection.
            close_old_connections()
        else:
            response.close()
        return response

    async def send_response(self, response: HttpResponseBase, receive: Any, send: Any) -> None:
        if isinstance(response, StreamingHttpResponse):
            await send_until_gone(self.messages_of(response), receive, send)
            return
        assert isinstance(response, HttpResponse)
        await send(head_of(response))
        for chunk, is_last in ASGIHandler.chunk_bytes(response.content):
            await send({"type": "http.response.body", "body": chunk, "more_body": not is_last})

    async def messages_of(self, response: StreamingHttpResponse) -> AsyncGenerator[dict[str, Any], None]:
        """What is sent of a stream. Readers of events see at once that theirs has begun; the head of every other waits
        for the first chunk: until then its body may choose another status, and headers.
        """
        is_head_out = response.headers["Content-Type"].startswith("text/event-stream")
        if is_head_out:
            yield head_of(response)
        async with aclosing(self.chunks_of(response)) as chunks:
            async for chunk in chunks:
                if not is_head_out:
                    is_head_out = True
                    yield head_of(response)
                yield {"type": "http.response.body", "body": chunk, "more_body": True}
        yield {"type": "http.response.body", "body": b""}

    async def chunks_of(self, response: StreamingHttpResponse) -> AsyncGenerator[bytes, None]:
        if response.is_async:
            async for part in response:
                yield part
            return
        loop, chunks = asyncio.get_running_loop(), iter(response)
        while chunk := await loop.run_in_executor(self.pool, lambda: next(chunks, b"")):
            yield chunk


def is_upload(scope: Any) -> bool:
    """Whether a body may be as large as a file: where files are sent, and only there."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    is_form = scope["method"] == "POST" and kind.startswith(b"multipart/")
    return is_form and settings.UPLOAD_PATHS.fullmatch(path) is not None


def is_known(scope: Any, credential: str) -> bool:
    """Whether `credential`, which a request shows, is somebody's. Runs on a pool thread."""
    kind, _, token = credential.partition(" ")
    is_header = any(name == b"authorization" for name, _ in scope["headers"])
    try:
        if is_header:
            return kind.lower() == "bearer" and authenticate_bearer(token.strip()) is not None
        return principal_of_session(credential) is not None
    except DomainError:
        return False
    except (InterfaceError, OperationalError):
        # The view will say so.
        return True
    finally:
        close_old_connections()


def no_room(scope: Any) -> HttpResponse:
    if "/api/" in scope["path"]:
        error = {"code": StorageFailed.code, "message": StorageFailed.message, "request_id": str(uuid.uuid4())}
        return JsonResponse({"error": error}, status=507)
    return HttpResponse(f"{StorageFailed.message}\n", status=507, content_type="text/plain")


async def read_body(receive: Any, *, limit: int) -> tuple[IO[bytes], int]:
    """The whole request body, on disk when it is large, and its size in bytes. Raises ClientGone, SlowBody."""
    body = tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115 - the caller closes it
    size, more, deadline = 0, True, asyncio.get_running_loop().time() + BODY_SECONDS
    try:
        while more:
            async with asyncio.timeout_at(deadline + size / BYTES_PER_SECOND):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size <= limit:
                body.write(chunk)
            elif size > DRAIN_MAX_BYTES:
                break
    except (ClientGone, OSError) as failure:
        with suppress(OSError):
            body.close()
        raise (SlowBody() if isinstance(failure, TimeoutError) else failure) from None
    if size > limit:
        body.close()
        return cast(IO[bytes], OversizedBody(limit)), size
    body.seek(0)
    return body, size


async def send_until_gone(messages: AsyncGenerator[dict[str, Any], None], receive: Any, send: Any) -> None:
    """Send a stream; end it, and whatever it waits for, the moment the client hangs up."""

    async def send_all() -> None:
        async with aclosing(messages):
            async for message in messages:
                await send(message)

    async def hang_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    sending, leaving = asyncio.create_task(send_all()), asyncio.create_task(hang_up())
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        results = await asyncio.gather(sending, leaving, return_exceptions=True)
    failure = results[0]
    if isinstance(failure, Exception):
        # Where the head is out the status can't be changed: a cut connection tells the client, the log tells us.
        logger.error("A streamed response failed", exc_info=failure)
        raise failure


def head_of(response: HttpResponseBase) -> dict[str, Any]:
    return {"type": "http.response.start", "status": response.status_code, "headers": headers_of(response)}


def headers_of(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    cookies = [
        (b"set-cookie", cookie.output(header="").encode("ascii").strip()) for cookie in response.cookies.values()
    ]
    return headers + cookies
