"""One request that is being answered: who asks, and the answer of a model that is written for it.

Such an answer has no reader but the call, so it is stopped when the call ends before it: when the client hangs up, says
that it is cancelled, or may not ask any longer.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.core.cache import cache

from accounts.authentication import Principal
from accounts.queries import one_or_none
from chats.errors import NotFound
from chats.models import Reply
from chats.replies.connections import OpenStream
from chats.replies.database import AWAY, in_database
from chats.replies.services import stop_reply

R = TypeVar("R")

# How long a cancellation that overtook its request is remembered.
OVERTAKEN_SECONDS = 60

logger = structlog.get_logger(__name__)


@dataclass
class Call:
    """`session` and `request_id` are the client's names for it, by which it may cancel it later."""

    principal: Principal
    session: str
    request_id: Any
    stream: OpenStream = field(init=False)
    reply_id: UUID | None = None  # of the answer that is written for it, and nobody else
    _beginning: asyncio.Future[Any] | None = None

    async def begin(self, work: Awaitable[R]) -> R:
        """Await what starts a reply. It is done whole, even if the client hangs up meanwhile."""
        self._beginning = asyncio.ensure_future(work)
        return await asyncio.shield(self._beginning)

    async def leave(self) -> None:
        """It is over, and so is what was begun for it."""
        if self._beginning is not None:
            await asyncio.gather(self._beginning, return_exceptions=True)
        if self.reply_id is None:
            return
        try:
            await in_database(_stop, self.principal, self.reply_id)
        except AWAY as error:
            logger.warning("mcp_reply_not_stopped", reply=str(self.reply_id), error=str(error))

    def note_reply(self, reply_id: UUID) -> None:
        """So that it can be cancelled, whichever process hears of that; it may have been by now."""
        if not self.session:
            return
        name = _name_of(self.principal, self.session, self.request_id)
        cache.set(name, str(reply_id), timeout=settings.REPLY_TOTAL_SECONDS)
        # Whoever cancels leaves his note before he looks for ours, so one of both finds the other's.
        if cache.get(f"{name}:cancelled"):
            _stop(self.principal, reply_id)


def cancel(principal: Principal, session: str, request_id: Any) -> None:
    """Stop the answer that is written for this request of this client, if there is one, here or on another node."""
    if not session:
        return  # of two clients with one key, each counts its requests from 1
    name = _name_of(principal, session, request_id)
    cache.set(f"{name}:cancelled", True, timeout=OVERTAKEN_SECONDS)
    if reply_id := cache.get(name):
        _stop(principal, UUID(reply_id))


def _stop(principal: Principal, reply_id: UUID) -> None:
    reply = one_or_none(Reply.objects.editable_by(principal.user), pk=reply_id)
    if reply is None:
        return  # its chat was deleted, which has stopped it
    try:
        stop_reply(reply)
    except NotFound:
        logger.info("mcp_reply_gone", reply=str(reply_id))


def _name_of(principal: Principal, session: str, request_id: Any) -> str:
    parts = json.dumps([principal.kind, principal.credential_id, session, request_id])
    return f"mcp:{hashlib.sha256(parts.encode('utf-8', 'surrogatepass')).hexdigest()}"
