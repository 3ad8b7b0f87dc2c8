"""Several nodes beside one process, in the same run: what a token costs, and how long one waits for the first."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import aiohttp

from benchmarks.processes import (
    CLIENT_CORE,
    CORES,
    SERVER_CORE,
    cpu_seconds,
    pin,
    running,
    tree_of,
    wait_for_port,
)
from benchmarks.product import WIDER_LIMITS, product
from benchmarks.streams import Load, answer_over_socket, delta_of
from config.tests import servers
from config.tests.cluster import cluster, person_and_model

COST = Load()
# So many are under way at any moment; a new one begins as often as one ends.
FIRST_TOKEN = Load(streams=50, tokens=200, tokens_per_second=50)
ANSWERS = 250
ROUNDS = 5
TURNS = 3  # a p99 of 600 waits, not of 200
KINDS = {"one": "web", "two": "web", "worker": "worker"}


@dataclass(frozen=True)
class Place:
    """Where people talk. `cpu` says what each part of it has spent so far, in seconds."""

    urls: Sequence[str]
    key: str
    model: str
    cpu: Callable[[], Mapping[str, float]]
    pids: Sequence[int]

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.key}"}, connector=aiohttp.TCPConnector(limit=0)
        )

    async def open_socket(self, session: aiohttp.ClientSession, number: int) -> aiohttp.ClientWebSocketResponse:
        """A page that is open before its person asks, at one node and the other in turn."""
        url = self.urls[number % len(self.urls)]
        async with session.post(f"{url}/api/v1/chats/", json={"model": self.model}) as response:
            response.raise_for_status()
            chat = (await response.json())["id"]
        return await session.ws_connect(f"{url}/ws/chats/{chat}/")


def measure(folder: Path) -> dict[str, Any]:
    """Embedded and cluster in turn, so that a change of the machine's speed meets both."""
    port = servers.free_port()
    provider = [sys.executable, "-m", "benchmarks.mock_provider", str(port)]
    with running(provider, port=port, core=CLIENT_CORE) as mock:
        wait_for_port(mock)
        with embedded(folder / "embedded", port) as alone, several(folder / "cluster", port) as nodes:
            cost: dict[str, Any] = {}
            for number in range(1, ROUNDS + 1):
                cost[f"round_{number}"] = compared(asyncio.run(cost_of(alone)), asyncio.run(cost_of(nodes)))
            for name in ("times_embedded", "times_embedded_with_redis"):
                cost[f"median_{name}"] = median(cost[f"round_{number}"][name] for number in range(1, ROUNDS + 1))
            # Several processes are there to use several cores; the one above has what one process can use.
            for pid in nodes.pids:
                pin(pid, *CORES)
            own, of_alone, of_nodes = [], [], []
            for _ in range(TURNS):
                own += asyncio.run(first_tokens_of_provider(port))
                of_alone += asyncio.run(first_tokens(alone))
                of_nodes += asyncio.run(first_tokens(nodes))
            waits = {
                "provider": milliseconds(own),
                "embedded_added": added(of_alone, own),
                "cluster_added": added(of_nodes, own),
            }
    return {"cost": cost, "first_token_ms": waits}


# ---------------------------------------------------------------- the two places
@contextmanager
def embedded(folder: Path, provider_port: int) -> Iterator[Place]:
    with product(folder, provider_port=provider_port, model_id=COST.model_id) as parley:
        pid = parley.server.process.pid
        yield Place([parley.server.url], parley.key, parley.model, lambda: {"process": cpu_seconds(pid)}, [pid])


@contextmanager
def several(folder: Path, provider_port: int) -> Iterator[Place]:
    """Two nodes that serve and a worker on the core of what is measured; PostgreSQL and Redis where there is room."""
    folder.mkdir(parents=True, mode=0o700)
    redis_server = servers.RedisServer(folder / "redis")
    redis_server.start()
    try:
        database_url = servers.start_postgresql(folder / "postgresql")
        postmaster = int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])
        with cluster(
            folder, database_url=database_url, redis_url=redis_server.url, kinds=KINDS, **WIDER_LIMITS
        ) as made:
            pids = {node.name: node.process.pid for node in made.nodes.values() if node.process}
            for pid in pids.values():
                pin(pid, SERVER_CORE)
            base_url = f"http://127.0.0.1:{provider_port}/v1"
            key, model = person_and_model(made.manage, base_url=base_url, model_id=COST.model_id, name="Paced")

            def cpu() -> dict[str, float]:
                spent = {name: cpu_seconds(pid) for name, pid in pids.items()}
                spent["redis"] = cpu_seconds(redis_server.pid)
                return spent | {"postgresql": sum(map(cpu_seconds, tree_of(postmaster)))}

            yield Place([node.url for node in made.nodes.values() if node.port], key, model, cpu, list(pids.values()))
    finally:
        redis_server.stop()
        servers.stop_all()


# ---------------------------------------------------------------- the cost of a token
async def cost_of(place: Place) -> dict[str, Any]:
    async with place.session() as session:
        sockets = [await place.open_socket(session, number) for number in range(COST.streams)]
        before = place.cpu()
        texts = await asyncio.gather(*(answer_over_socket(socket) for socket in sockets))
        after = place.cpu()
    thousands = COST.streams * COST.tokens / 1000
    parts = {name: round((after[name] - before[name]) / thousands, 4) for name in after}
    return {"byte_equal": sum(text == COST.text for text in texts), "cpu_seconds_per_1000_tokens": parts}


def compared(alone: dict[str, Any], nodes: dict[str, Any]) -> dict[str, Any]:
    """Both, and how many times the cost of one process the nodes are, without and with Redis's own part."""
    name = "cpu_seconds_per_1000_tokens"
    one, parts = alone[name]["process"], nodes[name]
    ours = sum(parts[kind] for kind in KINDS)
    return {
        "embedded": alone,
        "cluster": nodes,
        "times_embedded": round(ours / one, 2),
        "times_embedded_with_redis": round((ours + parts["redis"]) / one, 2),
    }


# ---------------------------------------------------------------- the first token
async def first_tokens(place: Place) -> list[float]:
    """Seconds from each message to the first token of its answer, with `streams` of them under way."""
    async with place.session() as session:
        sockets = [await place.open_socket(session, number) for number in range(ANSWERS)]

        async def ask(number: int) -> float:
            socket, began, first = sockets[number], time.monotonic(), 0.0
            await socket.send_json({"type": "message.send", "content": "Hello", "client_id": str(uuid4())})
            async for message in socket:
                kind = json.loads(message.data)["type"]
                if kind in {"text.delta", "reply.snapshot"} and not first:
                    first = time.monotonic() - began
                if kind in {"reply.finished", "error"}:
                    break
            await socket.close()
            return first

        return await in_turn(ask)


async def first_tokens_of_provider(port: int) -> list[float]:
    """The same, asked without anything in between."""
    request = {
        "model": FIRST_TOKEN.model_id,
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(_: int) -> float:
            began, first = time.monotonic(), 0.0
            async with session.post(url, json=request) as response:
                async for line in response.content:
                    if delta_of(line) and not first:
                        first = time.monotonic() - began
            return first

        return await in_turn(ask)


async def in_turn(ask: Callable[[int], Any]) -> list[float]:
    """ANSWERS answers, begun at an even pace. The waits of those with `streams` others beside them."""
    load = FIRST_TOKEN
    pause = load.tokens / load.tokens_per_second / load.streams
    tasks = []
    for number in range(ANSWERS):
        tasks.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(pause)
    return list(await asyncio.gather(*tasks))[load.streams :]


def milliseconds(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {f"p{share}": round(ordered[int(len(ordered) * share / 100)] * 1000, 1) for share in (50, 99)}


def added(waits: list[float], own: list[float]) -> dict[str, float]:
    """What is added to the provider's own time, which is taken as its median."""
    usual = sorted(own)[len(own) // 2]
    return milliseconds([wait - usual for wait in waits])
