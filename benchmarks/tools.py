"""What tools cost: the wait for the first token where many are offered, an answer that calls one, and memory."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from benchmarks.mock_provider import ARGUMENTS, text_of
from benchmarks.nodes import milliseconds
from benchmarks.processes import CLIENT_CORE, running, wait_for_port
from benchmarks.product import Product, create_chat, product
from config.tests.servers import free_port

OTHERS = 99  # tools of the server, beside the one that is called
TURNS = 200
TOKENS = 20
MODEL_ID = f"paced-{TOKENS}-1000"
SUM = "5"
NONE: dict[str, list[str]] = {"servers": []}


@dataclass(frozen=True)
class Answer:
    first_token: float  # seconds from the message
    whole: float  # seconds from the message to the end of its reply
    text: str


def measure(folder: Path) -> dict[str, Any]:
    provider_port, tools_port = free_port(), free_port()
    provider = [sys.executable, "-m", "benchmarks.mock_provider", str(provider_port)]
    tools = [sys.executable, "-m", "benchmarks.mcp_server", str(tools_port), str(OTHERS)]
    allowed = {"OUTBOUND_ALLOWED_HOSTS": f"127.0.0.1:{tools_port}"}
    with (
        running(provider, port=provider_port, core=CLIENT_CORE) as mock,
        running(tools, port=tools_port, core=CLIENT_CORE) as server,
        product(folder, provider_port=provider_port, model_id=MODEL_ID, environment=allowed) as parley,
    ):
        wait_for_port(mock)
        wait_for_port(server)
        return asyncio.run(compared(parley, f"{server.url}/mcp"))


async def compared(parley: Product, url: str) -> dict[str, Any]:
    """All kinds of answers in turn, so that a change of the machine's speed meets each of them."""
    async with parley.session() as session:
        rss = {"idle": parley.server.rss_mib()}
        for _ in range(TURNS):
            await ask(session, parley, "Hello", tools=NONE)
        rss["after_answers_without_tools"] = parley.server.rss_mib()
        name = await add_server(session, url)
        await ask(session, parley, f"call {name}")
        rss["after_first_call"] = parley.server.rss_mib()
        without, offered, called, alone = [], [], [], []
        for _ in range(TURNS):
            without.append(await ask(session, parley, "Hello", tools=NONE))
            offered.append(await ask(session, parley, "Hello"))
            called.append(await ask(session, parley, f"call {name}"))
            alone.append(await call_alone(url))
        rss["after_all_answers"] = parley.server.rss_mib()
    return {
        "byte_equal": sum(answer.text == text_of(TOKENS) for answer in [*without, *offered]),
        "called": sum(answer.text == SUM for answer in called),
        "first_token_ms": {
            "without_tools": milliseconds([answer.first_token for answer in without]),
            f"offered_{OTHERS + 1}": milliseconds([answer.first_token for answer in offered]),
        },
        "answer_ms": {
            "without_call": milliseconds([answer.whole for answer in offered]),
            "with_call": milliseconds([answer.whole for answer in called]),
            "call_by_python_mcp": milliseconds(alone),
        },
        "rss_mib": {name: round(value) for name, value in rss.items()},
    }


async def add_server(session: aiohttp.ClientSession, url: str) -> str:
    """Under what name its tool `add`, which may run without a word, is offered."""
    body = {"name": "Bench", "config": {"url": url}, "enabled": True}
    async with session.post("/api/v1/mcp-servers/", json=body) as response:
        response.raise_for_status()
        server = await response.json()
    async with session.get(f"/api/v1/mcp-servers/{server['id']}/tools/", params={"page_size": 100}) as response:
        tools = (await response.json())["results"]
    add = next(tool for tool in tools if tool["name"] == "add")
    async with session.patch(f"/api/v1/tools/{add['id']}/", json={"policy": "allow"}) as response:
        response.raise_for_status()
    return str(add["called"])


async def ask(session: aiohttp.ClientSession, parley: Product, content: str, **fields: Any) -> Answer:
    """One message in a chat of its own, whose page is open. The text is that of the last step."""
    chat = await create_chat(session, model=parley.model, **fields)
    socket = await session.ws_connect(f"/ws/chats/{chat}/")
    began, first, text = time.monotonic(), 0.0, ""
    await socket.send_json({"type": "message.send", "content": content, "client_id": str(uuid4())})
    async for message in socket:
        event = json.loads(message.data)
        match event["type"]:
            case "reply.snapshot":
                text = event["text"]
            case "text.delta":
                first = first or time.monotonic() - began
                text += event["text"]
            case "reply.finished" | "error":
                break
    whole = time.monotonic() - began
    await socket.close()
    return Answer(first, whole, text)


async def call_alone(url: str) -> float:
    """Seconds for the same call by the official client, which has nobody's chat to store."""
    began = time.monotonic()
    async with streamable_http_client(url) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        await client.list_tools()
        await client.call_tool("add", ARGUMENTS)
    return time.monotonic() - began
