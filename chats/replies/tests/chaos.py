"""People who talk while their servers are killed: is every word there, once, at the end?

    python -m chats.replies.tests.chaos [--seed N] [--streams 1000] [--kills 200] [--at-once 40]

Two nodes and a worker, all of which may die at any moment by kill -9 and are started again. Each person sends until
some node accepts, now and then twice, and reads the answer over a connection that breaks again and again, from one node
and the other in turn. The same seed does the same again, as far as processes can.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import psycopg

from chats.llm.tests.fake_provider import FakeProvider, Script
from config.tests import servers
from config.tests.cluster import Cluster, cluster
from config.tests.sockets import Viewer

TURN_SECONDS = 180
# What a dying server does to a request in hand.
BROKEN = (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError)
SETTINGS = {
    "REPLY_HEARTBEAT_SECONDS": "0.5",
    "REPLY_STALE_SECONDS": "2",
    # Nobody dies as often as here: the question is whether all is said in the end, not when one gives up.
    "REPLY_MAX_ATTEMPTS": "1000",
    "RUNNING_REPLIES_PER_USER": "10000",
    "SENDS_PER_MINUTE_PER_USER": "1000000",
    "API_REQUESTS_PER_MINUTE_PER_USER": "1000000",
    "API_REQUESTS_PER_MINUTE_PER_PEER": "1000000",
    "SHUTDOWN_GRACE_SECONDS": "3",
}


@dataclass(frozen=True)
class Plan:
    seed: int
    streams: int
    kills: int
    at_once: int = 40
    words: int = 240
    words_per_second: float = 60


@dataclass
class Outcome:
    """What was seen. `wrong` says each thing that must not be."""

    seconds: float = 0
    kills: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    restarts_seen: int = 0
    sends_repeated: int = 0
    wrong: list[str] = field(default_factory=list)


class Chaos:
    def __init__(self, plan: Plan, made: Cluster, provider: FakeProvider) -> None:
        self.plan, self.cluster, self.provider = plan, made, provider
        self.random = random.Random(plan.seed)
        self.outcome = Outcome()
        self.web = [name for name, node in made.nodes.items() if node.port]
        person = made.manage("create_user", "chaos@example.org", "--password", "correct horse", "--api-key", "chaos")
        self.headers = {"Authorization": f"Bearer {person['api_key']}"}
        made.manage(
            *("add_model", "Echo", "--provider", "Fake", "--kind", "openai", "--base-url", provider.base_url),
            *("--model-id", "echo", "--input-price", "1", "--output-price", "2"),
        )
        provider.script("echo", Script(tokens_per_second=plan.words_per_second))

    async def run(self) -> Outcome:
        started, room = time.monotonic(), asyncio.Semaphore(self.plan.at_once)
        is_over = asyncio.Event()
        killing = asyncio.create_task(self._kill(is_over))
        async with aiohttp.ClientSession(headers=self.headers, timeout=aiohttp.ClientTimeout(sock_read=15)) as session:

            async def one(number: int) -> None:
                async with room:
                    try:
                        async with asyncio.timeout(TURN_SECONDS):
                            await Turn(self, session, number).run()
                    except TimeoutError:
                        self.outcome.wrong.append(f"turn {number} was not over after {TURN_SECONDS} seconds")

            await asyncio.gather(*(one(number) for number in range(self.plan.streams)))
        is_over.set()
        await killing
        await asyncio.to_thread(self._check_rows)
        if not await asyncio.to_thread(self.provider.wait_idle, 10):
            self.outcome.wrong.append("a connection to the provider is still open")
        self.outcome.seconds = round(time.monotonic() - started, 1)
        return self.outcome

    async def _kill(self, is_over: asyncio.Event) -> None:
        nodes = list(self.cluster.nodes.values())
        for _ in range(self.plan.kills):
            try:
                async with asyncio.timeout(self.random.uniform(0.2, 1.5)):
                    await is_over.wait()
                return
            except TimeoutError:
                node = self.random.choice(nodes)
                await asyncio.to_thread(node.kill)
                self.outcome.kills[node.name] += 1
                node.start()

    def _check_rows(self) -> None:
        wanted = {
            "SELECT count(*) FROM chats_message WHERE role = 'user'": self.plan.streams,
            "SELECT count(DISTINCT content) FROM chats_message WHERE role = 'user'": self.plan.streams,
            "SELECT count(*) FROM chats_reply": self.plan.streams,
            "SELECT count(*) FROM chats_reply WHERE status = 'completed'": self.plan.streams,
            "SELECT count(*) FROM chats_message WHERE role = 'assistant'": self.plan.streams,
            # Booked once each as the provider told; what was lost with a server is an estimate of its own.
            "SELECT count(*) FROM usage_usagerecord WHERE NOT is_estimated": self.plan.streams,
            "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'": 0,
        }
        with psycopg.connect(self.cluster.environment["DATABASE_URL"]) as connection:
            for query, count in wanted.items():
                found = connection.execute(query).fetchone()
                if found is None or found[0] != count:
                    self.outcome.wrong.append(f"{query}: {found and found[0]} instead of {count}")


class Turn:
    """One person's question and its answer."""

    def __init__(self, chaos: Chaos, session: aiohttp.ClientSession, number: int) -> None:
        self.chaos, self.session, self.number = chaos, session, number
        self.random = random.Random(f"{chaos.plan.seed}:{number}")
        self.content = f"Turn {number}: " + " ".join(f"w{n}" for n in range(chaos.plan.words))
        self.outcome = chaos.outcome
        self.viewer = Viewer()

    async def run(self) -> None:
        chat = (await self._until_it_works(lambda: self._post("/chats/", {})))["id"]
        body = {"content": self.content, "client_id": str(UUID(int=self.random.getrandbits(128)))}
        send = lambda: self._post(f"/chats/{chat}/messages/", body)  # noqa: E731
        accepted = await self._until_it_works(send)
        if self.random.random() < 0.3:
            self.outcome.sends_repeated += 1
            again = await self._until_it_works(send)
            if again["reply"]["id"] != accepted["reply"]["id"]:
                self._wrong("the same client_id made two replies")
        await self._read(accepted["reply"]["id"])
        if self.viewer.text != f"Echo: {self.content}":
            self._wrong(f"text seen is {self.viewer.text[-80:]!r}")
        message = accepted["reply"]["message"]
        stored = await self._until_it_works(lambda: self._get(f"/messages/{message}/"))
        if stored["content"] != f"Echo: {self.content}":
            self._wrong(f"text stored is {stored['content'][-80:]!r}")

    async def _read(self, reply: str) -> None:
        while self.viewer.finished is None:
            path = f"{self._url()}/replies/{reply}/events/?after={self.viewer.seq}"
            patience = self.random.randint(1, 40)
            try:
                async with self.session.get(path) as response:
                    response.raise_for_status()
                    async for line in response.content:
                        if line.startswith(b"data: "):
                            self._take(json.loads(line[6:]))
                            patience -= 1
                        if self.viewer.finished or not patience:
                            break
            except BROKEN:
                await asyncio.sleep(0.1)
            self.outcome.reconnects += 1

    def _take(self, event: dict[str, Any]) -> None:
        if event["seq"] <= self.viewer.seq:
            self._wrong(f"event {event['seq']} came after {self.viewer.seq}")
        self.viewer.see(event)
        self.outcome.restarts_seen += event["type"] == "reply.restarted"
        if event["type"] == "reply.finished" and event["status"] != "completed":
            self._wrong(f"it ended {event['status']}: {event['error']}")

    async def _until_it_works(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        while True:
            try:
                return await call()
            except BROKEN as error:
                if isinstance(error, aiohttp.ClientResponseError) and error.status not in {502, 503, 504}:
                    self._wrong(f"{error.request_info.url} answered {error.status}")
                await asyncio.sleep(0.1)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.session.post(self._url() + path, json=body) as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    async def _get(self, path: str) -> dict[str, Any]:
        async with self.session.get(self._url() + path) as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    def _url(self) -> str:
        return f"{self.chaos.cluster.nodes[self.random.choice(self.chaos.web)].url}/api/v1"

    def _wrong(self, what: str) -> None:
        self.outcome.wrong.append(f"turn {self.number}: {what}")


def run(plan: Plan, folder: Path, *, database_url: str, redis_url: str) -> Outcome:
    """The plan, from empty tables to its outcome."""
    provider = FakeProvider().start()
    kinds = {"one": "both", "two": "web", "worker": "worker"}
    try:
        with cluster(folder, database_url=database_url, redis_url=redis_url, kinds=kinds, **SETTINGS) as made:
            return asyncio.run(Chaos(plan, made, provider).run())
    finally:
        provider.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=40)
    chosen = parser.parse_args()
    plan = Plan(seed=chosen.seed, streams=chosen.streams, kills=chosen.kills, at_once=chosen.at_once)
    print(plan, flush=True)  # noqa: T201 - a command
    with tempfile.TemporaryDirectory(prefix="parley-chaos-") as folder:
        try:
            database_url = servers.start_postgresql(Path(folder) / "postgresql")
            redis_url = servers.start_redis(Path(folder) / "redis")
            outcome = run(plan, Path(folder), database_url=database_url, redis_url=redis_url)
        finally:
            servers.stop_all()
    print(outcome)  # noqa: T201
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
