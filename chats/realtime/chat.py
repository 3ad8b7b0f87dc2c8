"""The socket of one chat: send, follow, stop. Its messages are documented in docs/websocket.md.

A handler starts followers and returns: Channels serves one message of a socket at a time, and a stop must not wait.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

import orjson
import structlog
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.conf import settings

from accounts.authentication import Principal
from accounts.errors import DomainError
from accounts.queries import found
from chats import doorbell
from chats.errors import Invalid, NotFound, Unavailable
from chats.models import Chat, Reply
from chats.realtime.doors import SUBPROTOCOL, check_host, check_origin, headers_of, principal_of, refuse
from chats.realtime.sockets import SOCKETS, OpenSocket
from chats.replies.database import AWAY, in_database
from chats.replies.follow import follow
from chats.replies.present import NOTICE_FIELDS, chat_notice_json, message_json_of, reply_json
from chats.replies.services import start_reply, stop_reply

logger = structlog.get_logger(__name__)

CLOSE_FLOOD = 1008
FOLLOWED_MAX = 50
NOTICE_PAUSE_SECONDS = 0.5


class ChatConsumer(AsyncConsumer):
    principal: Principal
    socket: OpenSocket | None = None
    end_listening: Callable[[], None] | None = None

    # ------------------------------------------------------------ the connection
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A client that goes before it is let in is never told to disconnect, nor is one whose handler failed.
            self._release()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Without what Channels does before each: a turn on a thread to close connections, of which this one has none.
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, _: dict[str, Any]) -> None:
        self.chat_id: UUID = self.scope["url_route"]["kwargs"]["chat_id"]
        self.followed: dict[UUID, asyncio.Task[None]] = {}
        self.tokens, self.refilled_at = float(settings.SOCKET_MESSAGES_BURST), time.monotonic()
        try:
            await self._let_in()
        except (DomainError, *AWAY) as error:
            await refuse(self.base_send, error if isinstance(error, DomainError) else Unavailable())
            raise StopConsumer from error
        protocol = SUBPROTOCOL if SUBPROTOCOL in self.scope.get("subprotocols", []) else None
        await self.send({"type": "websocket.accept", "subprotocol": protocol})

    async def _let_in(self) -> None:
        headers = headers_of(self.scope)
        check_host(headers)
        check_origin(headers)
        self.principal = await in_database(_principal_with_chat, self.scope, headers, self.chat_id)
        socket = OpenSocket(principal=self.principal, close=self.close)
        SOCKETS.add(socket)
        self.socket = socket
        self.changed = asyncio.Event()
        self.end_listening = doorbell.listen("chat", self._on_ring, key=self.chat_id)
        self.telling = asyncio.create_task(self._tell_changes())

    async def websocket_disconnect(self, _: dict[str, Any]) -> None:
        self._release()
        raise StopConsumer

    async def close(self, code: int) -> None:
        self._release()
        await self.send({"type": "websocket.close", "code": code})

    def _release(self) -> None:
        if self.socket is None:
            return
        SOCKETS.discard(self.socket)
        self.socket = None
        if self.end_listening is not None:
            self.end_listening()
        for task in [self.telling, *self.followed.values()]:
            task.cancel()

    # ------------------------------------------------------------ what clients say
    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if not self._take_token():
            await self.close(CLOSE_FLOOD)
            return
        client_id = None
        try:
            body = _parsed(message)
            client_id = body.get("client_id")
            await self._handle(body)
        except (DomainError, *AWAY) as failure:
            error = failure if isinstance(failure, DomainError) else Unavailable()
            shown = {"code": error.code, "message": error.message, **({"fields": error.fields} if error.fields else {})}
            await self._say({"type": "error", "error": shown, "client_id": client_id})
        except Exception:
            logger.exception("socket_message_failed")
            fault = {"code": "internal", "message": "Something went wrong on this server. Try again."}
            await self._say({"type": "error", "error": fault, "client_id": client_id})

    async def _handle(self, body: dict[str, Any]) -> None:
        match body:
            case {"type": "message.send"}:
                accepted = await in_database(_start, self.principal, self.chat_id, body)
                await self._say(accepted)
                self._follow(UUID(accepted["reply"]["id"]), after=0)
            case {"type": "reply.follow", "reply": reply_id}:
                after = body.get("after", 0)
                if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**63:
                    raise Invalid("after must be the number of the last event seen.")
                reply = await in_database(_reply, self.principal, self.chat_id, reply_id)
                self._follow(reply.pk, after=after)
            case {"type": "reply.stop", "reply": reply_id}:
                await in_database(_stop, self.principal, self.chat_id, reply_id)
            case _:
                raise Invalid("Unknown message. Send message.send, reply.follow or reply.stop.")

    def _take_token(self) -> bool:
        """A bucket that refills by SOCKET_MESSAGES_PER_SECOND up to SOCKET_MESSAGES_BURST."""
        now = time.monotonic()
        refill = (now - self.refilled_at) * settings.SOCKET_MESSAGES_PER_SECOND
        self.tokens, self.refilled_at = min(settings.SOCKET_MESSAGES_BURST, self.tokens + refill), now
        self.tokens -= 1
        return self.tokens >= 0

    # ------------------------------------------------------------ what clients hear
    def _follow(self, reply_id: UUID, *, after: int) -> None:
        earlier = self.followed.pop(reply_id, None)
        if earlier is not None:
            earlier.cancel()
        if len(self.followed) >= FOLLOWED_MAX:
            raise Invalid(f"At most {FOLLOWED_MAX} replies can be followed on one socket.")
        task = self.followed[reply_id] = asyncio.create_task(self._pass_on(reply_id, after))
        task.add_done_callback(lambda done: self._forget(reply_id, done))

    def _forget(self, reply_id: UUID, done: asyncio.Task[None]) -> None:
        if self.followed.get(reply_id) is done:
            del self.followed[reply_id]
        failure = None if done.cancelled() else done.exception()
        # An OSError is the server's word for a client that has gone.
        if failure is not None and not isinstance(failure, OSError):
            logger.error("follow_failed", reply=str(reply_id), exc_info=failure)

    async def _pass_on(self, reply_id: UUID, after: int) -> None:
        async with aclosing(follow(reply_id, after)) as events:
            async for _, event in events:
                # Awaits the client: one that does not read fills its own buffer, and nothing else.
                await self.base_send({"type": "websocket.send", "text": event.decode()})

    def _on_ring(self, _: str) -> None:
        self.changed.set()

    async def _tell_changes(self) -> None:
        # A client that has gone needs no news, and its disconnect ends this task.
        with suppress(OSError):
            while True:
                await self.changed.wait()
                self.changed.clear()
                try:
                    notice = await in_database(_notice, self.principal, self.chat_id)
                except AWAY as error:
                    logger.warning("notice_retry", error=str(error))
                    notice = None
                    self.changed.set()
                if notice is not None:
                    await self._say({"type": "chat.changed", "chat": notice})
                # What changes together is told together.
                await asyncio.sleep(NOTICE_PAUSE_SECONDS)

    async def _say(self, body: dict[str, Any]) -> None:
        await self.base_send({"type": "websocket.send", "text": orjson.dumps(body).decode()})


def _parsed(message: dict[str, Any]) -> dict[str, Any]:
    try:
        body = orjson.loads(message.get("text") or message.get("bytes") or b"")
    except orjson.JSONDecodeError as error:
        raise Invalid("Every message must be one JSON object.") from error
    if not isinstance(body, dict):
        raise Invalid("Every message must be one JSON object.")
    return body


def _principal_with_chat(scope: Any, headers: dict[str, str], chat_id: UUID) -> Principal:
    principal = principal_of(scope, headers)
    found(Chat.objects.visible_to(principal.user), pk=chat_id)
    return principal


def _reply(principal: Principal, chat_id: UUID, reply_id: Any) -> Reply:
    try:
        pk = UUID(reply_id)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound from error
    return found(Reply.objects.visible_to(principal.user), pk=pk, chat_id=chat_id)


def _start(principal: Principal, chat_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    content, model, client_id = (_text(body, name) for name in ("content", "model", "client_id"))
    if content is None:
        raise Invalid(fields={"content": ["This is required."]})
    started = start_reply(principal.user, chat_id=chat_id, content=content, model=model, client_id=client_id)
    return {
        "type": "message.accepted",
        "client_id": client_id,
        "message": message_json_of(started.message),
        "reply": reply_json(started.reply, [] if started.created else None),
    }


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if not isinstance(value, str | None):
        raise Invalid(fields={name: ["This must be a text."]})
    return value


def _stop(principal: Principal, chat_id: UUID, reply_id: Any) -> None:
    stop_reply(_reply(principal, chat_id, reply_id))


def _notice(principal: Principal, chat_id: UUID) -> dict[str, Any] | None:
    rows = Chat.objects.visible_to(principal.user).filter(pk=chat_id).order_by().values(*NOTICE_FIELDS)
    return next(map(chat_notice_json, rows), None)
