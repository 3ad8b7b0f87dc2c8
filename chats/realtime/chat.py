"""The socket of one chat: send, follow, stop. Its messages are documented in docs/websocket.md.

A handler starts followers and returns: Channels serves one message of a socket at a time, and a stop must not wait.
"""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID

import structlog

from accounts.authentication import Principal
from accounts.queries import found
from chats.errors import Invalid, NotFound
from chats.models import Chat, Reply
from chats.realtime.chats import ChatsConsumer
from chats.replies.approvals import decide_call
from chats.replies.database import in_database
from chats.replies.follow import follow
from chats.replies.present import message_json_of, reply_json
from chats.replies.retrieval import DocumentUse
from chats.replies.services import start_reply, stop_reply
from chats.tool_use import ToolUse, clean_tools

logger = structlog.get_logger(__name__)

FOLLOWED_MAX = 50
KNOWN = "message.send, reply.follow, reply.stop, tool.decide or chats.watch"


class ChatConsumer(ChatsConsumer):
    chat_id: UUID

    async def websocket_connect(self, event: dict[str, Any]) -> None:
        self.chat_id = self.scope["url_route"]["kwargs"]["chat_id"]
        self.followed: dict[UUID, asyncio.Task[None]] = {}
        await super().websocket_connect(event)

    def check_in(self, headers: dict[str, str]) -> Principal:
        principal = super().check_in(headers)
        found(Chat.objects.visible_to(principal.user), pk=self.chat_id)
        return principal

    def release(self) -> None:
        if self.socket is not None:
            for task in self.followed.values():
                task.cancel()
        super().release()

    async def handle(self, body: dict[str, Any]) -> None:
        match body:
            case {"type": "message.send"}:
                accepted, is_new = await in_database(_start, self.principal, self.chat_id, body)
                await self.say(accepted)
                self._follow(UUID(accepted["reply"]["id"]), after=0, is_new=is_new)
            case {"type": "reply.follow" | "reply.stop" | "tool.decide"} if "reply" not in body:
                raise Invalid(fields={"reply": ["This is required."]})
            case {"type": "reply.follow", "reply": reply_id}:
                after = body.get("after", 0)
                if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**63:
                    raise Invalid("after must be the number of the last event seen.")
                reply = await in_database(_reply, self.principal, self.chat_id, reply_id)
                self._follow(reply.pk, after=after)
            case {"type": "reply.stop", "reply": reply_id}:
                await in_database(_stop, self.principal, self.chat_id, reply_id)
            case {"type": "tool.decide", "reply": reply_id}:
                await in_database(_decide, self.principal, self.chat_id, reply_id, body)
            case {"type": "chats.watch"}:
                await self.watch()
            case _:
                raise Invalid(f"Unknown message. Send {KNOWN}.")

    def _follow(self, reply_id: UUID, *, after: int, is_new: bool = False) -> None:
        if self.socket is None:
            return  # closed meanwhile: nobody would end it
        earlier = self.followed.pop(reply_id, None)
        if earlier is not None:
            earlier.cancel()
        if len(self.followed) >= FOLLOWED_MAX:
            raise Invalid(f"At most {FOLLOWED_MAX} replies can be followed on one socket.")
        task = self.followed[reply_id] = asyncio.create_task(self._pass_on(reply_id, after, is_new=is_new))
        task.add_done_callback(lambda done: self._forget(reply_id, done))

    def _forget(self, reply_id: UUID, done: asyncio.Task[None]) -> None:
        if self.followed.get(reply_id) is done:
            del self.followed[reply_id]
        failure = None if done.cancelled() else done.exception()
        # An OSError is the server's word for a client that has gone.
        if failure is not None and not isinstance(failure, OSError):
            logger.error("follow_failed", reply=str(reply_id), exc_info=failure)

    async def _pass_on(self, reply_id: UUID, after: int, *, is_new: bool) -> None:
        async with aclosing(follow(reply_id, after, is_new=is_new)) as events:
            async for _, event in events:
                # Awaits the client: one that does not read fills its own buffer, and nothing else.
                await self.base_send({"type": "websocket.send", "text": event.decode()})


def _reply(principal: Principal, chat_id: UUID, reply_id: Any) -> Reply:
    try:
        pk = UUID(reply_id)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound from error
    return found(Reply.objects.visible_to(principal.user), pk=pk, chat_id=chat_id)


def _start(principal: Principal, chat_id: UUID, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """`message.accepted`, and whether it was for the first time."""
    content, model, client_id = (_text(body, name) for name in ("content", "model", "client_id"))
    if content is None:
        raise Invalid(fields={"content": ["This is required."]})
    started = start_reply(
        principal.user,
        chat_id=chat_id,
        content=content,
        model=model,
        use_documents=_document_use(body),
        use_tools=_tool_use(body),
        client_id=client_id,
    )
    accepted = {
        "type": "message.accepted",
        "client_id": client_id,
        "message": message_json_of(started.message),
        "reply": reply_json(started.reply, [] if started.created else None),
    }
    return accepted, started.created


def _document_use(body: dict[str, Any]) -> DocumentUse | None:
    """As over REST; the numbers are held against their limits by the verb."""
    is_on, limit, documents = body.get("use_rag"), body.get("limit"), body.get("documents") or []
    if is_on is None:
        return None
    if not isinstance(is_on, bool):
        raise Invalid(fields={"use_rag": ["This must be true or false."]})
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise Invalid(fields={"limit": ["This must be a whole number."]})
    try:
        ids = [UUID(text) for text in documents]
    except (ValueError, AttributeError, TypeError) as error:
        raise Invalid(fields={"documents": ["This must be a list of ids."]}) from error
    return DocumentUse(is_on, limit=limit, documents=ids)


def _tool_use(body: dict[str, Any]) -> ToolUse | None:
    """`{"servers": [ids]}`, or null for all; left out, it stays as it was."""
    if "tools" not in body:
        return None
    chosen = clean_tools(body["tools"])
    return ToolUse(None if chosen is None else [UUID(pk) for pk in chosen["servers"]])


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if not isinstance(value, str | None):
        raise Invalid(fields={name: ["This must be a text."]})
    return value


def _stop(principal: Principal, chat_id: UUID, reply_id: Any) -> None:
    stop_reply(_reply(principal, chat_id, reply_id))


def _decide(principal: Principal, chat_id: UUID, reply_id: Any, body: dict[str, Any]) -> None:
    """Approve or deny a call; what comes of it is told by the events of the reply."""
    call, reason, scope = (_text(body, name) for name in ("call", "reason", "scope"))
    approved = body.get("approved")
    if call is None:
        raise Invalid(fields={"call": ["This is required."]})
    if not isinstance(approved, bool):
        raise Invalid(fields={"approved": ["This must be true or false."]})
    reply = _reply(principal, chat_id, reply_id)
    decide_call(principal.user, reply, call, approved=approved, reason=reason or "", scope=scope or "once")
