"""Connections that stay open and say nothing more, as after a machine that died or a proxy that forgot them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.replies.tests.test_nodes import TEXT, WORDS, Nodes
from config.tests import servers
from config.tests.live import wait_until
from config.tests.prepared import new_database, prepared_cluster
from config.tests.proxy import Proxy

pytestmark = [
    pytest.mark.skipif(settings.IS_SQLITE, reason="there is nothing to connect to"),
    pytest.mark.timeout(120),
]


@dataclass
class Between:
    nodes: Nodes
    database: Proxy
    redis: Proxy


@contextmanager
def before_database(name: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before an empty database, and the DATABASE_URL that leads through it."""
    known = conninfo_to_dict(new_database(name))
    path = f"{known['host']}/.s.PGSQL.{known.get('port', 5432)}"
    with Proxy(partial(asyncio.open_unix_connection, path)).running() as proxy:
        yield proxy, f"postgresql://{known['user']}@127.0.0.1:{proxy.port}/{known['dbname']}"


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Between]:
    folder: Path = tmp_path_factory.mktemp("silence")
    provider = FakeProvider().start()
    with servers.running_redis(folder / "redis") as redis_url:
        at = urlsplit(redis_url)
        redis = Proxy(partial(asyncio.open_connection, at.hostname, at.port))
        with (
            before_database("silence") as (database, database_url),
            redis.running(),
            prepared_cluster(
                folder,
                database_url=database_url,
                redis_url=f"redis://127.0.0.1:{redis.port}/0",
                kinds={"one": "web", "two": "web", "worker": "worker"},
                REPLY_HEARTBEAT_SECONDS="0.5",
                REPLY_STALE_SECONDS="4",
                DATABASE_STATEMENT_TIMEOUT_SECONDS="2",
                DATABASE_SILENCE_SECONDS="2.5",
            ) as made,
        ):
            yield Between(Nodes(made, provider), database, redis)
    provider.stop()


def test_a_database_that_says_nothing_more_is_connected_to_anew(between: Between) -> None:
    nodes, gate = between.nodes, threading.Event()
    nodes.provider.script("scripted", Script(chunks=WORDS, gate=gate, gate_after=10))
    reply_id, chat = nodes.send("one", nodes.chat())["reply"]["id"], nodes.chat()
    wait_until(lambda: nodes.stored_text(reply_id) == "".join(WORDS[:10]), seconds=10, what="ten words are stored")
    between.database.forget()
    gate.set()
    other = nodes.send("one", chat)["reply"]["id"]
    for asked in (reply_id, other):
        ended = nodes.wait_ended(asked)
        assert (ended["status"], ended["text"]) == ("completed", TEXT)


@pytest.mark.asyncio
async def test_a_redis_that_says_nothing_more_is_connected_to_anew(between: Between) -> None:
    nodes = between.nodes
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=30))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("two", chat) as two:
        await two.send("chats.watch")
        await two.receive_until("chats.watched")
        between.redis.forget()
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        assert (await asyncio.to_thread(nodes.wait_ended, reply_id))["text"] == TEXT

        async def is_heard(title: str) -> bool:
            await asyncio.to_thread(nodes.call, "one", "PATCH", f"/chats/{chat}/", {"title": title})
            try:
                async with asyncio.timeout(1):
                    while (await two.receive())["chat"]["title"] != title:
                        pass
            except TimeoutError:
                return False
            return True

        async with asyncio.timeout(15):
            number = 0
            while not await is_heard(f"Title {number}"):
                number += 1


def test_a_worker_ends_although_its_database_is_away(tmp_path: Path, redis_url: str) -> None:
    with ExitStack() as stack:
        _, database_url = stack.enter_context(before_database("away"))
        with prepared_cluster(
            tmp_path, database_url=database_url, redis_url=redis_url, kinds={"worker": "worker"}
        ) as made:
            worker = made.nodes["worker"]
            stack.close()
            wait_until(lambda: "error connecting" in worker.log.read_text(), seconds=20, what="it misses its database")
            assert worker.process is not None
            worker.process.terminate()
            assert worker.process.wait(10) == 0
