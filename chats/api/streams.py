"""Answers that take as long as a reply: its events, or one body at its end. They are written on the event loop."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.http import StreamingHttpResponse
from django.urls import reverse
from rest_framework.request import Request

from accounts.authentication import Principal, is_still_valid
from accounts.errors import DomainError, NotFound, Unauthenticated
from accounts.queries import found
from chats.api import errors
from chats.api.base import person, principal
from chats.models import Reply
from chats.replies.connections import CONNECTIONS, STREAMS, counted
from chats.replies.database import AWAY, in_database
from chats.replies.follow import EVENT_STREAM, STREAM_HEADERS, follow, sse, until_rest
from chats.replies.present import message_json_of, reply_json


def wants_stream(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("Accept", "")


def check_room(request: Request) -> None:
    """Whether this person may have one more stream; before anything is done for it. Raises TooMany."""
    CONNECTIONS.check_room(person(request).pk)


def event_stream(request: Request, reply_id: UUID, *, after: int = 0) -> StreamingHttpResponse:
    """The events of a reply as Server-Sent Events, as long as the credential they were asked with holds."""
    events = _events(principal(request), reply_id, after)
    headers = STREAM_HEADERS | {"Location": _address_of(reply_id)}
    return StreamingHttpResponse(events, content_type=EVENT_STREAM, headers=headers)


def answer_when_finished(request: Request, reply_id: UUID) -> StreamingHttpResponse:
    """One JSON body with the chat, the reply and its message, once the reply is over.

    When this process ends before, or when it waits for approval of a tool call, 202 with the same as it stands.
    """
    response = StreamingHttpResponse(content_type="application/json", headers={"Location": _address_of(reply_id)})
    response.streaming_content = _body_when_finished(response, principal(request), reply_id)
    return response


def _address_of(reply_id: UUID) -> str:
    return reverse("api:replies-detail", args=[reply_id])


def answer_of(principal: Principal, work: Callable[[], Awaitable[Any]]) -> StreamingHttpResponse:
    """One JSON body: what comes of `work` on the event loop, whose wait holds no thread and no connection.

    It counts among what `principal` has open, for as long as it takes.
    """
    response = StreamingHttpResponse(content_type="application/json")
    response.streaming_content = counted(principal, _body_of(response, work))
    return response


def done_after(principal: Principal, work: Callable[[], Awaitable[None]]) -> StreamingHttpResponse:
    """204 once `work` is done on the event loop, which must not raise. It counts as that of `answer_of`."""
    return StreamingHttpResponse(counted(principal, _nothing_after(work)), status=204)


async def _nothing_after(work: Callable[[], Awaitable[None]]) -> AsyncGenerator[bytes, None]:
    await work()
    yield b""


async def _events(principal: Principal, reply_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    with STREAMS.open(principal) as stream:
        async with aclosing(sse(follow(reply_id, after), over=stream.over)) as parts:
            async for part in parts:
                yield part


async def _body_when_finished(
    response: StreamingHttpResponse, principal: Principal, reply_id: UUID
) -> AsyncGenerator[bytes, None]:
    with STREAMS.open(principal) as stream:
        # Nothing of the events is sent, so that the status, which goes out with the body, can still be chosen.
        async with aclosing(until_rest(reply_id, over=stream.over)) as events:
            async for _ in events:
                pass

    async def answered() -> dict[str, Any]:
        body, is_finished = await in_database(_answered, principal, reply_id)
        response.status_code = 200 if is_finished else 202
        return body

    async for part in _body_of(response, answered):
        yield part


async def _body_of(response: StreamingHttpResponse, work: Callable[[], Awaitable[Any]]) -> AsyncGenerator[bytes, None]:
    """What comes of `work` as JSON, or the error that it raises. The status goes out with the first part."""
    try:
        body = await work()
    except (DomainError, *AWAY) as error:
        problem = errors.problem_of(error)
        assert problem is not None
        with structlog.contextvars.bound_contextvars(request_id=response.headers["X-Request-ID"]):
            body = problem.body
        response.status_code = problem.status
        for name, value in problem.headers.items():
            response.headers[name] = value
    yield orjson.dumps(body)


def _answered(principal: Principal, reply_id: UUID) -> tuple[dict[str, Any], bool]:
    """How a reply stands, and whether it is over. Raises Unauthenticated and NotFound."""
    if not is_still_valid(principal):
        raise Unauthenticated
    reply = found(Reply.objects.visible_to(principal.user).select_related("message"), pk=reply_id)
    if reply.message is None:
        raise NotFound("This answer was deleted.")
    body = {"chat": str(reply.chat_id), "reply": reply_json(reply), "message": message_json_of(reply.message)}
    return body, reply.is_finished
