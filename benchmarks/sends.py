"""50 messages in the same instant, each to its own chat, on SQLite as shipped: is every one answered?"""

import asyncio
import time
from typing import Any

import aiohttp

from benchmarks.product import Product, create_chat
from benchmarks.streams import stored_answer

FINISH_SECONDS = 60
UNFINISHED = {"queued", "running", "waiting"}


async def measure(product: Product, *, sends: int, expected: str) -> dict[str, Any]:
    async with product.session() as session:
        chats = [await create_chat(session, model=product.model) for _ in range(sends)]
        start = time.monotonic()
        sent = await asyncio.gather(*(send(session, chat, start) for chat in chats))
        accepted = [reply for status, _, reply in sent if status == 201]
        statuses = await asyncio.gather(*(last_status(session, reply) for reply in accepted))
        seconds = time.monotonic() - start
        stored = [await stored_answer(session, chat) for chat in chats]
    waits = sorted(wait for _, wait, _ in sent)
    return {
        "sends": sends,
        "accepted": len(accepted),
        "completed": statuses.count("completed"),
        "stored_byte_equal": sum(text == expected for text in stored),
        "locked": product.server.log.read_text().count("locked"),
        "send_to_ack_p95_ms": round(waits[int(len(waits) * 0.95)] * 1000),
        "seconds": round(seconds, 2),
    }


async def send(session: aiohttp.ClientSession, chat: str, start: float) -> tuple[int, float, str]:
    """The status of the answer, how long it took since `start`, and the reply's id."""
    body = {"content": "Hello", "client_id": f"send-{chat}"}
    async with session.post(f"/api/v1/chats/{chat}/messages/", json=body) as response:
        answer = await response.json()
        return response.status, time.monotonic() - start, answer.get("reply", {}).get("id", "")


async def last_status(session: aiohttp.ClientSession, reply: str) -> str:
    """The reply's status once it is over."""
    status = "queued"
    async with asyncio.timeout(FINISH_SECONDS):
        while status in UNFINISHED:
            await asyncio.sleep(0.25)
            async with session.get(f"/api/v1/replies/{reply}/") as response:
                status = (await response.json())["status"]
    return status
