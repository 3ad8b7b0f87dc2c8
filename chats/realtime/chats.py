"""The socket of a person's chats: hears how each of them stands. Its messages are documented in docs/websocket.md."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import structlog
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.conf import settings

from accounts.authentication import Principal
from accounts.client_ids import is_client_id
from accounts.errors import DomainError
from chats.errors import Invalid, Unavailable
from chats.realtime.doors import SUBPROTOCOL, check_host, check_origin, headers_of, principal_of, refuse
from chats.realtime.news import NEWS, Reader
from chats.realtime.sockets import OpenSocket
from chats.replies.connections import CONNECTIONS
from chats.replies.database import AWAY, in_database
from chats.replies.events import encode
from chats.replies.notices import answering_chats

logger = structlog.get_logger(__name__)

CLOSE_FLOOD = 1008


class ChatsConsumer(AsyncConsumer):
    principal: Principal
    chat_id: UUID | None = None
    socket: OpenSocket | None = None
    telling: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ the connection
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A client that goes before it is let in is never told to disconnect, nor is one whose handler failed.
            self.release()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Without what Channels does before each: a turn on a thread to close connections, of which this one has none.
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, _: dict[str, Any]) -> None:
        self.tokens, self.refilled_at = float(settings.SOCKET_MESSAGES_BURST), time.monotonic()
        # Held while something is said that news must not overtake.
        self.speaking = asyncio.Lock()
        try:
            await self._let_in()
        except (DomainError, *AWAY) as error:
            await refuse(self.base_send, error if isinstance(error, DomainError) else Unavailable())
            raise StopConsumer from error
        protocol = SUBPROTOCOL if SUBPROTOCOL in self.scope.get("subprotocols", []) else None
        await self.send({"type": "websocket.accept", "subprotocol": protocol})
        self.telling = asyncio.create_task(self._tell_news())

    async def _let_in(self) -> None:
        headers = headers_of(self.scope)
        check_host(headers)
        check_origin(headers)
        self.principal = await in_database(self.check_in, headers)
        socket = OpenSocket(principal=self.principal, close=self.close)
        CONNECTIONS.check_room(self.principal.user.pk)
        CONNECTIONS.add(socket)
        self.socket = socket
        self.reader = Reader(self.principal.user.pk, self.chat_id)
        NEWS.add(self.reader)

    def check_in(self, headers: dict[str, str]) -> Principal:
        """Who comes. Reads rows. Raises Unauthenticated, and NotFound for what this person may not see."""
        return principal_of(self.scope, headers)

    async def websocket_disconnect(self, _: dict[str, Any]) -> None:
        self.release()
        raise StopConsumer

    async def close(self, code: int) -> None:
        """Close it, unless that was done already: the server takes a second time for a mistake."""
        if self.socket is not None:
            self.release()
            await self.send({"type": "websocket.close", "code": code})

    def release(self) -> None:
        """Give back what the socket takes up. It may be called again."""
        if self.socket is None:
            return
        CONNECTIONS.discard(self.socket)
        self.socket = None
        NEWS.discard(self.reader)
        if self.telling is not None:
            self.telling.cancel()

    # ------------------------------------------------------------ what clients say
    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if self.socket is None:
            return  # closed from here; what the client had sent by then may still come
        if not self._take_token():
            await self.close(CLOSE_FLOOD)
            return
        echo: dict[str, Any] = {"client_id": None}
        try:
            body = _parsed(message)
            echo = _echo_of(body)
            await self.handle(body)
        except (DomainError, *AWAY) as failure:
            error = failure if isinstance(failure, DomainError) else Unavailable()
            shown = {"code": error.code, "message": error.message, **({"fields": error.fields} if error.fields else {})}
            await self.say({"type": "error", "error": shown, **echo})
        except Exception:
            logger.exception("socket_message_failed")
            fault = {"code": "internal", "message": "Something went wrong on this server. Try again."}
            await self.say({"type": "error", "error": fault, **echo})

    async def handle(self, body: dict[str, Any]) -> None:
        """Do what a message asks for. Raises DomainError, which the client is told."""
        match body:
            case {"type": "chats.watch"}:
                await self.watch()
            case _:
                raise Invalid("Unknown message. Send chats.watch.")

    def _take_token(self) -> bool:
        """A bucket that refills by SOCKET_MESSAGES_PER_SECOND up to SOCKET_MESSAGES_BURST."""
        now = time.monotonic()
        refill = (now - self.refilled_at) * settings.SOCKET_MESSAGES_PER_SECOND
        self.tokens, self.refilled_at = min(settings.SOCKET_MESSAGES_BURST, self.tokens + refill), now
        self.tokens -= 1
        return self.tokens >= 0

    # ------------------------------------------------------------ what clients hear
    async def watch(self) -> None:
        """Say which chats are answering, and from here on how any chat of this person stands when it changes."""
        async with self.speaking:
            # First: what changes while the rows are read comes after them.
            self.reader.is_watching = True
            answering = await in_database(answering_chats, [self.principal.user.pk])
            NEWS.note_answering(answering)
            waiting = [str(chat_id) for chat_id, is_waiting in answering.items() if is_waiting]
            await self.say({"type": "chats.watched", "answering": [str(pk) for pk in answering], "waiting": waiting})
        if self.chat_id:
            # What was said since its page was made, or while its socket was away, nobody has told it.
            NEWS.look_at({self.chat_id})

    async def _tell_news(self) -> None:
        # A client that has gone needs no news, and its disconnect ends this task.
        with suppress(OSError):
            while True:
                await self.reader.wait()
                async with self.speaking:
                    for text in self.reader.take():
                        await self.base_send({"type": "websocket.send", "text": text})

    async def say(self, body: dict[str, Any]) -> None:
        """Tell the client, if it is still there: what it asked for may take longer than it stays."""
        if self.socket is not None:
            with suppress(OSError):
                await self.base_send({"type": "websocket.send", "text": encode(body).decode()})


def _parsed(message: dict[str, Any]) -> dict[str, Any]:
    said = message.get("text") or message.get("bytes") or b""
    try:
        body = _loaded(said if isinstance(said, str) else said.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid("Every message must be one JSON object.") from error
    if not isinstance(body, dict):
        raise Invalid("Every message must be one JSON object.")
    return body


def _loaded(said: str) -> Any:
    try:
        return orjson.loads(said)
    except orjson.JSONDecodeError:
        # Half of a surrogate pair is JSON to Python alone: it is taken, and cleaned, as over REST.
        return json.loads(said)


def _echo_of(body: dict[str, Any]) -> dict[str, Any]:
    """What an error repeats, so that it can be told what failed. Nothing that can't be an id: it may be very long."""
    client_id = body.get("client_id")
    echo: dict[str, Any] = {"client_id": client_id if _is_id(client_id) else None}
    return echo | {name: body[name] for name in ("reply", "call") if _is_id(body.get(name))}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and is_client_id(value)
