"""How others fare while a long PDF is read: their requests, before and meanwhile."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.product import Product
from chats.knowledge.tests.pdf import pdf

PAGES = 200
LINES, WORDS = 45, 10
REQUESTS_PER_SECOND = 20
QUIET_SECONDS = 5


async def measure(parley: Product) -> dict[str, Any]:
    async with parley.session() as session:
        quiet = await waits_until(session, asyncio.sleep(QUIET_SECONDS))
        began = time.monotonic()
        document = await upload(session, pdf(*map(page_of, range(PAGES))))
        steps: list[int] = []
        busy = await waits_until(session, ready(session, document, steps))
        return {
            "pages": PAGES,
            "seconds": round(time.monotonic() - began, 1),
            "steps_seen": len(set(steps)),
            "others_ms_before": shares(quiet),
            "others_ms_meanwhile": shares(busy),
        }


async def waits_until(session: aiohttp.ClientSession, end: Any) -> list[float]:
    """How long each of many requests takes, asked at an even pace until `end` is over."""
    ending, waits = asyncio.ensure_future(end), []
    asking: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        began = time.monotonic()
        async with session.post("/api/v1/chats/", json={"title": "x"}) as response:
            response.raise_for_status()
        async with session.get("/api/v1/chats/") as response:
            response.raise_for_status()
        waits.append(time.monotonic() - began)

    while not ending.done():
        asking.add(asyncio.create_task(ask()))
        await asyncio.sleep(1 / REQUESTS_PER_SECOND)
    await asyncio.gather(ending, *asking)
    return waits


async def upload(session: aiohttp.ClientSession, content: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("file", content, filename="long.pdf")
    async with session.post("/api/v1/documents/", data=form) as response:
        response.raise_for_status()
        return str((await response.json())["id"])


async def ready(session: aiohttp.ClientSession, document: str, steps: list[int]) -> None:
    while True:
        async with session.get(f"/api/v1/documents/{document}/") as response:
            shown = await response.json()
        steps.append(shown["progress"]["done"])
        if shown["status"] == "ready":
            return
        if shown["status"] == "failed":
            raise RuntimeError(shown["error"])
        await asyncio.sleep(0.2)


def shares(waits: Sequence[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {f"p{share}": round(ordered[int(len(ordered) * share / 100)] * 1000, 1) for share in (50, 95, 99)}


def page_of(number: int) -> str:
    """A page of text, no two alike."""
    return "\n".join(
        " ".join(f"word{(number * 7 + line * 13 + at * 31) % 4_000}" for at in range(WORDS)) + "."
        for line in range(LINES)
    )
