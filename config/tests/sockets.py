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

    async def send(self, type: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": type, **fields}))

    async def receive(self, *, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The next message. Raises TimeoutError, or websockets' ConnectionClosed."""
        async with asyncio.timeout(seconds):
            return json.loads(await self.connection.recv())

    async def receive_until(self, type: str, *, seconds: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
        """All messages up to the first of this type, which is the last of them."""
        received: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds):
            while not received or received[-1]["type"] != type:
                received.append(json.loads(await self.connection.recv()))
        return received

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


def text_of(events: list[dict[str, Any]]) -> str:
    """The text a viewer sees after these events: the last snapshot or restart, and the deltas after it."""
    text = ""
    for event in events:
        if event["type"] in {"reply.snapshot", "reply.restarted"}:
            text = event["text"]
        elif event["type"] == "text.delta":
            text += event["text"]
    return text
