"""A WebSocket client for tests, which speaks as the chat page or as a program with an API key does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

ANSWER_SECONDS = 10


class ChatSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.largest = 0  # bytes of the largest message so far

    async def send(self, type: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": type, **fields}))

    async def receive(self, *, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The next message. Raises TimeoutError, or websockets' ConnectionClosed."""
        async with asyncio.timeout(seconds):
            return await self._next()

    async def receive_until(self, type: str, *, seconds: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
        """All messages up to the first of this type, which is the last of them."""
        received: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds):
            while not received or received[-1]["type"] != type:
                received.append(await self._next())
        return received

    async def _next(self) -> dict[str, Any]:
        said = await self.connection.recv(decode=False)
        self.largest = max(self.largest, len(said))
        message: dict[str, Any] = json.loads(said)
        return message

    async def close_code(self, *, seconds: float = ANSWER_SECONDS) -> int | None:
        """The code with which the server closed; everything before it is read and dropped."""
        async with asyncio.timeout(seconds):
            with suppress(ConnectionClosedError):
                async for _ in self.connection:
                    pass
        return self.connection.close_code


@asynccontextmanager
async def open_socket(
    ws_url: str,
    chat: UUID | str | None,
    *,
    session: str | None = None,
    api_key: str | None = None,
    origin: str | None = None,
    subprotocols: list[str] | None = None,
) -> AsyncIterator[ChatSocket]:
    """A socket on `chat`, None: on the list of chats.

    As a session's browser, which names its origin, or as a program with an API key.
    """
    headers = {}
    if session is not None:
        headers["Cookie"] = f"sessionid={session}"
        origin = origin or ws_url.replace("ws", "http", 1)
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    # `proxy=None`: a proxy of the developer's machine has no business here.
    address = f"{ws_url}/ws/chats/{chat}/" if chat else f"{ws_url}/ws/chats/"
    async with connect(
        address, additional_headers=headers, origin=origin, subprotocols=subprotocols, proxy=None, max_size=None
    ) as connection:
        yield ChatSocket(connection)


class Viewer:
    """What a client knows of one reply, by the rules of docs/websocket.md."""

    def __init__(self) -> None:
        self.text = self.reasoning = ""
        self.seq = 0
        self.finished: dict[str, Any] | None = None
        self._parts: list[dict[str, Any]] = []

    def see(self, event: dict[str, Any]) -> None:
        if event["type"] == "reply.snapshot" and "parts" in event:
            self._see_part(event)
            return
        self._parts = []
        self.seq = event.get("seq", self.seq)
        match event["type"]:
            case "reply.snapshot" | "reply.restarted":
                self.text, self.reasoning = event["text"], event["reasoning"]
            case "text.delta":
                self.text += event["text"]
            case "reasoning.delta":
                self.reasoning += event["text"]
            case "reply.finished":
                self.finished = event

    def _see_part(self, event: dict[str, Any]) -> None:
        if event["part"] == 1:
            self._parts = []
        if event["part"] == len(self._parts) + 1:
            self._parts.append(event)
        if len(self._parts) == event["parts"]:
            assert {part["seq"] for part in self._parts} == {event["seq"]}
            self.seq = event["seq"]
            self.text, self.reasoning = (
                "".join(part[field] for part in self._parts) for field in ("text", "reasoning")
            )
            self._parts = []


def text_of(events: list[dict[str, Any]]) -> str:
    """The text a viewer sees after these events."""
    viewer = Viewer()
    for event in events:
        viewer.see(event)
    return viewer.text
