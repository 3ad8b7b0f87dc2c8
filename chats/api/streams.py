"""Answers that take as long as a reply: its events, or one body at its end. They are written on the event loop."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.http import StreamingHttpResponse
from django.urls import reverse
from rest_framework.request import Request

from accounts.authentication import Principal, is_still_valid
from accounts.errors import NotFound, Unauthenticated
from accounts.models import User
from accounts.queries import one_or_none
from chats.api import errors
from chats.api.base import person, principal
from chats.models import Reply
from chats.replies.database import AWAY, in_database
from chats.replies.events import Numbered
from chats.replies.follow import follow, sse
from chats.replies.present import message_json_of, reply_json

logger = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
# Proxies must pass every event on at once.
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
RECHECK_SECONDS = 4.0

Events = AsyncGenerator[Numbered, None]


def wants_stream(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("Accept", "")


def event_stream(request: Request, reply_id: UUID, *, after: int = 0) -> StreamingHttpResponse:
    """The events of a reply as Server-Sent Events, as long as the credential they were asked with holds."""
    events = _read_while_valid(principal(request), reply_id, after=after)
    headers = STREAM_HEADERS | {"Location": reverse("api:replies-detail", args=[reply_id])}
    return StreamingHttpResponse(events, content_type=EVENT_STREAM, headers=headers)


def answer_when_finished(request: Request, reply_id: UUID) -> StreamingHttpResponse:
    """One JSON body with the chat, the reply and its message, once the reply is over."""
    body = _body_when_finished(person(request), principal(request), reply_id)
    return StreamingHttpResponse(body, content_type="application/json")


def _read_while_valid(credential: Principal | None, reply_id: UUID, *, after: int = 0) -> AsyncIterator[bytes]:
    is_welcome = partial(_is_welcome, credential) if credential else None
    return sse(_while_valid(credential, follow(reply_id, after)), is_welcome=is_welcome)


async def _while_valid(credential: Principal | None, events: Events) -> Events:
    checked_at = monotonic()
    async with aclosing(events):
        async for event in events:
            if credential and monotonic() - checked_at > RECHECK_SECONDS:
                if not await _is_welcome(credential):
                    return
                checked_at = monotonic()
            yield event


async def _is_welcome(credential: Principal) -> bool:
    try:
        return await in_database(is_still_valid, credential)
    except AWAY as error:
        # Nobody can have been shut out meanwhile; it is asked again in a few seconds.
        logger.warning("recheck_retry", error=str(error))
        return True


async def _body_when_finished(user: User, credential: Principal | None, reply_id: UUID) -> AsyncIterator[bytes]:
    # Nothing of it is sent, but whoever waits is asked for his credential as a reader of the stream is.
    async for _ in _read_while_valid(credential, reply_id):
        pass
    yield orjson.dumps(await in_database(_answered, user, credential, reply_id))


def _answered(user: User, credential: Principal | None, reply_id: UUID) -> dict[str, Any]:
    if credential and not is_still_valid(credential):
        return errors.problem_of_domain(Unauthenticated()).body
    reply = one_or_none(Reply.objects.visible_to(user).select_related("message"), pk=reply_id)
    if reply is None or reply.message is None:
        return errors.problem_of_domain(NotFound("The chat or this answer was deleted.")).body
    return {"chat": str(reply.chat_id), "reply": reply_json(reply), "message": message_json_of(reply.message)}
