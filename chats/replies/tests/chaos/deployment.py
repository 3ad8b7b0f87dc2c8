"""Two nodes and a worker with one person and one model, and the handles with which a scenario disturbs them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from chats.llm.tests.fake_provider import FakeProvider
from chats.replies.tests.chaos import voices
from config.tests import servers
from config.tests.cluster import Cluster, Process, cluster, person_and_model

KINDS = {"one": "both", "two": "web", "worker": "worker"}
POOL_MAX_SIZE = 10
SETTINGS = {
    # Takeovers in seconds instead of half a minute, so that many fit into a run.
    "REPLY_HEARTBEAT_SECONDS": "0.5",
    "REPLY_STALE_SECONDS": "2",
    "DATABASE_POOL_MAX_SIZE": str(POOL_MAX_SIZE),
    # One person plays all of them.
    "RUNNING_REPLIES_PER_USER": "100000",
    "SENDS_PER_MINUTE_PER_USER": "1000000",
    "API_REQUESTS_PER_MINUTE_PER_USER": "1000000",
    "API_REQUESTS_PER_MINUTE_PER_PEER": "1000000",
    "SOCKETS_PER_USER": "100000",
    **voices.SETTINGS,
}
CONNECTIONS = """
    SELECT pid, state FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> %s
"""
OBSERVER = "observer"


MakeCluster = Callable[..., AbstractContextManager[Cluster]]


@dataclass
class Costs:
    """What the deployment holds at one moment."""

    database_connections: int
    descriptors: dict[str, int] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    rss_mib: dict[str, int] = field(default_factory=dict)


class Deployment:
    def __init__(self, made: Cluster, provider: FakeProvider, redis_server: servers.RedisServer) -> None:
        self.cluster, self.provider, self.redis_server = made, provider, redis_server
        self.web = [node for node in made.nodes.values() if node.port]
        key, _ = person_and_model(made.manage, base_url=provider.base_url, model_id="voices", name="Voices")
        self.headers = {"Authorization": f"Bearer {key}"}

    @property
    def nodes(self) -> list[Process]:
        return list(self.cluster.nodes.values())

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection]:
        """A connection that commits by itself, and that no scenario takes for one of the product's."""
        url = self.cluster.environment["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True, application_name=OBSERVER) as connection:
            yield connection

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_server.url)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.database() as connection:
            return connection.execute(query, parameters).fetchall()

    def connection_states(self) -> Counter[str]:
        """The product's connections to PostgreSQL by what they do."""
        return Counter(state for _, state in self.rows(CONNECTIONS, OBSERVER))

    def costs(self) -> Costs:
        costs = Costs(database_connections=self.connection_states().total())
        for node in self.nodes:
            assert node.process is not None
            at = Path(f"/proc/{node.process.pid}")
            status = dict(line.split(":", 1) for line in (at / "status").read_text().splitlines())
            costs.descriptors[node.name] = len(list((at / "fd").iterdir()))
            costs.threads[node.name] = int(status["Threads"])
            costs.rss_mib[node.name] = int(status["VmRSS"].split()[0]) // 1024
        return costs

    def logged(self, *, since: dict[str, int]) -> Iterator[tuple[str, str]]:
        """(node, line) of all that the nodes wrote, each after so many bytes."""
        for node in self.nodes:
            with node.log.open("rb") as log:
                log.seek(since.get(node.name, 0))
                for line in log:
                    yield node.name, line.decode(errors="replace").rstrip()

    def log_sizes(self) -> dict[str, int]:
        return {node.name: node.log.stat().st_size for node in self.nodes}


@contextmanager
def deployed(
    folder: Path, *, database_url: str, make: MakeCluster = cluster, **environment: str
) -> Iterator[Deployment]:
    """A deployment over this database, which has no rows yet, and a Redis of its own, until the block ends."""
    provider, redis_server = FakeProvider().start(), servers.RedisServer(folder / "redis")
    redis_server.start()
    settings = {**SETTINGS, "LOG_FORMAT": "json", **environment}
    try:
        urls = {"database_url": database_url, "redis_url": redis_server.url}
        with make(folder, **urls, kinds=KINDS, **settings) as made:
            yield Deployment(made, provider, redis_server)
    finally:
        redis_server.stop()
        provider.stop()


def event_of(line: str) -> dict[str, Any]:
    """A line of a node's log as its fields; what is no JSON comes as `event` alone."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError:
        return {"event": line}
    return fields if isinstance(fields, dict) else {"event": line}
