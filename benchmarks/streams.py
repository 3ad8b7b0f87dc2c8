"""30 answers at once over the WebSocket: is every byte there, and what does a token cost the server?"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from benchmarks.mock_provider import text_of
from benchmarks.processes import Running
from benchmarks.product import Product, create_chat


@dataclass(frozen=True)
class Load:
    streams: int = 30
    tokens: int = 200
    tokens_per_second: int = 50

    @property
    def model_id(self) -> str:
        return f"paced-{self.tokens}-{self.tokens_per_second}"

    @property
    def text(self) -> str:
        return text_of(self.tokens)


async def measure(product: Product, load: Load) -> dict[str, Any]:
    """The load through the product, and what is stored of it afterwards."""
    async with product.session() as session:
        chats = [await create_chat(session, model=product.model) for _ in range(load.streams)]

        # People have their pages open before they ask.
        sockets = [await session.ws_connect(f"/ws/chats/{chat}/") for chat in chats]

        async def follow(number: int) -> str:
            return await answer_over_socket(sockets[number])

        result = await timed(follow, product.server, load)
        stored = [await stored_answer(session, chat) for chat in chats]
    result["stored_byte_equal"] = sum(text == load.text for text in stored)
    return result


async def measure_pass_through(server: Running, load: Load) -> dict[str, Any]:
    """The same load through a server that only copies bytes."""
    request = {"model": load.model_id, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}

    async with aiohttp.ClientSession(server.url) as session:

        async def follow(_: int) -> str:
            async with session.post("/v1/chat/completions", json=request) as response:
                return "".join([delta_of(line) async for line in response.content])

        return await timed(follow, server, load)


async def timed(follow: Callable[[int], Awaitable[str]], server: Running, load: Load) -> dict[str, Any]:
    cpu, start = server.cpu_seconds(), time.monotonic()
    texts = await asyncio.gather(*(follow(number) for number in range(load.streams)))
    seconds = time.monotonic() - start
    spent = server.cpu_seconds() - cpu
    return {
        "byte_equal": sum(text == load.text for text in texts),
        "streams": load.streams,
        "seconds": round(seconds, 2),
        "cpu_seconds_per_1000_tokens": round(spent / (load.streams * load.tokens / 1000), 4),
    }


async def answer_over_socket(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Send one message and read its answer to the end, as the chat page does."""
    text = ""
    await socket.send_json({"type": "message.send", "content": "Hello", "client_id": str(uuid4())})
    async for message in socket:
        event = json.loads(message.data)
        if event["type"] in {"reply.snapshot", "reply.restarted"}:
            text = event["text"] if event.get("part", 1) == 1 else text + event["text"]
        elif event["type"] == "text.delta":
            text += event["text"]
        elif event["type"] in {"reply.finished", "error"}:
            break
    await socket.close()
    return text


async def stored_answer(session: aiohttp.ClientSession, chat: str) -> str:
    async with session.get(f"/api/v1/chats/{chat}/messages/") as response:
        messages = (await response.json())["results"]
    return next((str(message["content"]) for message in messages if message["role"] == "assistant"), "")


def delta_of(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    choices = json.loads(line[6:])["choices"]
    return str(choices[0]["delta"].get("content", "")) if choices else ""
