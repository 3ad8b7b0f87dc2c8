"""Several nodes over one PostgreSQL and one Redis: accepted here, run there, followed and stopped anywhere."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from chats.llm.tests.fake_provider import FakeProvider, Script
from config.tests import servers
from config.tests.cluster import Cluster, person_and_model
from config.tests.live import wait_until
from config.tests.prepared import new_database, prepared_cluster
from config.tests.sockets import ChatSocket, Viewer, open_socket, text_of

pytestmark = [
    pytest.mark.skipif(settings.IS_SQLITE, reason="an SQLite file belongs to one process"),
    pytest.mark.timeout(120),
]

WORDS = [f" word{i}" for i in range(60)]
TEXT = "".join(WORDS)
EVENT_MAX_BYTES = 65_536  # the default
ENDED = {"completed", "stopped", "failed", "incomplete", "interrupted"}


class Nodes:
    """The cluster with one person, her key, and a model that says what a test wants."""

    def __init__(self, made: Cluster, provider: FakeProvider) -> None:
        self.cluster, self.provider = made, provider
        base_url = provider.base_url
        self.key, self.model = person_and_model(made.manage, base_url=base_url, model_id="scripted", name="Scripted")

    def call(self, node: str, method: str, path: str, body: Any = None) -> Any:
        return self.cluster.call(node, method, path, body, key=self.key)

    def chat(self) -> str:
        return self.call("one", "POST", "/chats/", {"model": self.model})["id"]

    def send(self, node: str, chat: str, **fields: Any) -> Any:
        return self.call(node, "POST", f"/chats/{chat}/messages/", {"content": "Go", **fields})

    def reply(self, reply_id: str) -> Any:
        return self.call("two", "GET", f"/replies/{reply_id}/")

    def wait_ended(self, reply_id: str, *, seconds: float = 30) -> Any:
        wait_until(lambda: self.reply(reply_id)["status"] in ENDED, seconds=seconds, what="the reply is over")
        return self.reply(reply_id) | {"text": self.stored_text(reply_id)}

    def stored_text(self, reply_id: str) -> str:
        return self.call("one", "GET", f"/messages/{self.reply(reply_id)['message']}/")["content"]

    def socket(self, node: str, chat: str | None) -> Any:
        return open_socket(self.cluster.nodes[node].url.replace("http", "ws", 1), chat, api_key=self.key)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder: Path = tmp_path_factory.mktemp("cluster")
    provider = FakeProvider().start()
    with (
        servers.running_redis(folder / "redis") as redis_url,
        prepared_cluster(
            folder,
            database_url=new_database("nodes"),
            redis_url=redis_url,
            kinds={"one": "web", "two": "web", "worker": "worker"},
            REPLY_HEARTBEAT_SECONDS="0.5",
            REPLY_STALE_SECONDS="2",
        ) as made,
    ):
        yield Nodes(made, provider)
    provider.stop()


@pytest.fixture(autouse=True)
def _fresh_provider(nodes: Nodes) -> None:
    nodes.provider.reset()


@pytest.fixture
def bus(nodes: Nodes) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(nodes.cluster.environment["REDIS_URL"]) as client:
        yield client


async def seen_at(socket: ChatSocket, reply_id: str, *, after: int = 0) -> list[dict[str, Any]]:
    await socket.send("reply.follow", reply=reply_id, after=after)
    return [e for e in await socket.receive_until("reply.finished", seconds=30) if e.get("reply") == reply_id]


@pytest.mark.asyncio
async def test_a_reply_run_by_a_worker_is_seen_whole_on_every_node(nodes: Nodes) -> None:
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=60))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", chat) as one, nodes.socket("two", chat) as two:
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        for events in await asyncio.gather(seen_at(one, reply_id), seen_at(two, reply_id)):
            assert text_of(events) == TEXT
            seqs = [event["seq"] for event in events]
            assert seqs == sorted(set(seqs))
            assert events[-1]["status"] == "completed"
    assert len(nodes.provider.requests) == 1


@pytest.mark.asyncio
async def test_a_list_on_one_node_hears_of_answers_asked_for_on_the_other(nodes: Nodes) -> None:
    gate = threading.Event()
    nodes.provider.script("scripted", Script(text="Here.", gate=gate))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", None) as one, nodes.socket("two", chat) as two:
        for socket in (one, two):
            await socket.send("chats.watch")
            await socket.receive_until("chats.watched")
        await asyncio.to_thread(nodes.send, "one", chat)
        for is_answering in (True, False):
            for socket in (one, two):
                event = await socket.receive()
                while event["chat"]["is_answering"] != is_answering:
                    event = await socket.receive()
                assert (event["type"], event["chat"]["id"]) == ("chat.changed", chat)
            gate.set()


@pytest.mark.asyncio
async def test_after_any_number_the_rest_comes_from_the_other_node(nodes: Nodes) -> None:
    gate = threading.Event()
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=200, gate=gate, gate_after=40))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", chat) as one, nodes.socket("two", chat) as two:
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        await one.send("reply.follow", reply=reply_id)
        first: list[dict[str, Any]] = []
        while "".join(WORDS[:40]) not in text_of(first):
            first.append(await one.receive())
        first = [event for event in first if event.get("reply") == reply_id]
        gate.set()
        rest = await seen_at(two, reply_id, after=first[-1]["seq"])
        assert text_of([*first, *rest]) == TEXT
        for kept in range(len(first)):
            again = await seen_at(two, reply_id, after=first[kept]["seq"])
            assert text_of([*first[: kept + 1], *again]) == TEXT


@pytest.mark.asyncio
async def test_an_answer_of_a_megabyte_in_one_line_comes_whole_on_every_node_in_small_events(
    nodes: Nodes, bus: redis.Redis
) -> None:
    text = "".join(f"{n:07} \x01é😀 " for n in range(50_000))
    gate = threading.Event()
    nodes.provider.script("scripted", Script(chunks=[text, " End."], gate=gate, gate_after=1))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", chat) as one, nodes.socket("two", chat) as two:
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        viewer = Viewer()
        await one.send("reply.follow", reply=reply_id)
        while viewer.text != text:
            viewer.see(await one.receive())
        # No stream to read from: whoever comes now gets the row's snapshot, in parts.
        is_stored = lambda: nodes.stored_text(reply_id) == text  # noqa: E731
        await asyncio.to_thread(wait_until, is_stored, seconds=5, what="what was seen is stored")
        bus.flushall()
        await two.send("reply.follow", reply=reply_id)
        late = await two.receive_until("reply.snapshot")
        assert late[-1]["part"] == 1
        gate.set()
        late += await two.receive_until("reply.finished", seconds=30)
        for event in await one.receive_until("reply.finished", seconds=30):
            viewer.see(event)
        after_the_end = await seen_at(two, reply_id)
        assert max(one.largest, two.largest) <= EVENT_MAX_BYTES
    stored = await asyncio.to_thread(nodes.wait_ended, reply_id)
    assert text_of(late) == text_of(after_the_end) == viewer.text == stored["text"] == text + " End."
    assert late[-1]["message"]["content"] is None
    assert late[-1]["message_url"] == f"/api/v1/messages/{late[-1]['message']['id']}/"
    assert max(len(event[b"e"]) for _, event in bus.xrange(f"parley:reply:{reply_id}")) <= EVENT_MAX_BYTES


def test_a_stop_on_the_other_node_closes_the_connection_to_the_provider(nodes: Nodes) -> None:
    nodes.provider.script("scripted", Script(chunks=WORDS, stall_after=5))
    reply_id = nodes.send("one", nodes.chat())["reply"]["id"]
    wait_until(lambda: nodes.reply(reply_id)["status"] == "running", seconds=10, what="it runs")
    assert nodes.provider.wait_requests(timeout=10)
    nodes.call("two", "POST", f"/replies/{reply_id}/stop/")
    assert nodes.provider.wait_closed(timeout=5)
    assert nodes.wait_ended(reply_id)["status"] == "stopped"


def test_one_client_id_at_two_nodes_in_the_same_instant_is_one_message(nodes: Nodes) -> None:
    nodes.provider.script("scripted", Script(text="Once."))
    chat, barrier = nodes.chat(), threading.Barrier(8)

    def send(number: int) -> str:
        barrier.wait(10)
        return nodes.send("one" if number % 2 else "two", chat, client_id="the-same")["reply"]["id"]

    with ThreadPoolExecutor(8) as threads:
        replies = set(threads.map(send, range(8)))
    assert len(replies) == 1
    assert nodes.wait_ended(replies.pop())["text"] == "Once."
    assert len(nodes.provider.requests) == 1


@pytest.mark.asyncio
async def test_redis_emptied_in_mid_stream_costs_nobody_a_word(nodes: Nodes, bus: redis.Redis) -> None:
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=30))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", chat) as one, nodes.socket("two", chat) as two:
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        following = asyncio.gather(seen_at(one, reply_id), seen_at(two, reply_id))
        wait = lambda: wait_until(lambda: bus.keys("parley:reply:*"), seconds=10, what="it streams")  # noqa: E731
        await asyncio.to_thread(wait)
        bus.flushall()
        for events in await following:
            assert text_of(events) == TEXT


@pytest.mark.asyncio
async def test_while_redis_is_paused_messages_are_accepted_and_answers_go_on(nodes: Nodes, bus: redis.Redis) -> None:
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=30))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("two", chat) as two:
        reply_id = (await asyncio.to_thread(nodes.send, "one", chat))["reply"]["id"]
        following = asyncio.create_task(seen_at(two, reply_id))
        wait = lambda: wait_until(lambda: bus.keys("parley:reply:*"), seconds=10, what="it streams")  # noqa: E731
        await asyncio.to_thread(wait)
        bus.execute_command("CLIENT", "PAUSE", 4000, "ALL")
        other = await asyncio.to_thread(nodes.send, "one", await asyncio.to_thread(nodes.chat))
        assert text_of(await following) == TEXT
    assert (await asyncio.to_thread(nodes.wait_ended, other["reply"]["id"]))["text"] == TEXT


def test_a_worker_that_dies_is_followed_by_another(nodes: Nodes) -> None:
    gate = threading.Event()
    nodes.provider.script("scripted", Script(chunks=WORDS, gate=gate, gate_after=10))
    reply_id = nodes.send("one", nodes.chat())["reply"]["id"]
    assert nodes.provider.wait_requests(timeout=10)
    worker = nodes.cluster.nodes["worker"]
    worker.kill()
    gate.set()
    worker.start()
    ended = nodes.wait_ended(reply_id)
    assert (ended["status"], ended["text"]) == ("completed", TEXT)
    assert len(nodes.provider.requests) == 2


def test_a_worker_that_is_told_to_end_finishes_what_it_runs(nodes: Nodes) -> None:
    nodes.provider.script("scripted", Script(chunks=WORDS, tokens_per_second=40))
    reply_id = nodes.send("one", nodes.chat())["reply"]["id"]
    assert nodes.provider.wait_requests(timeout=10)
    worker = nodes.cluster.nodes["worker"]
    assert worker.end() == 0
    assert nodes.reply(reply_id)["status"] == "completed"
    waiting = nodes.send("two", nodes.chat())["reply"]["id"]
    assert nodes.reply(waiting)["status"] == "queued"
    worker.start()
    assert nodes.wait_ended(waiting)["text"] == TEXT
    assert len(nodes.provider.requests) == 2


def test_nothing_is_left_in_redis(nodes: Nodes, bus: redis.Redis) -> None:
    nodes.provider.script("scripted", Script(text="Short."))
    nodes.wait_ended(nodes.send("one", nodes.chat())["reply"]["id"])
    assert all(bus.ttl(key) <= 60 and bus.ttl(key) != -1 for key in bus.keys("parley:reply:*"))  # -1: for ever


@pytest.mark.asyncio
async def test_a_message_deleted_while_it_is_written_is_over_for_viewers_on_every_node(nodes: Nodes) -> None:
    gate = threading.Event()
    nodes.provider.script("scripted", Script(chunks=WORDS, gate=gate, gate_after=10))
    chat = await asyncio.to_thread(nodes.chat)
    async with nodes.socket("one", chat) as one, nodes.socket("two", chat) as two:
        sent = await asyncio.to_thread(nodes.send, "one", chat)
        reply_id = sent["reply"]["id"]
        following = [asyncio.create_task(seen_at(socket, reply_id)) for socket in (one, two)]
        running = lambda: nodes.stored_text(reply_id) == "".join(WORDS[:10])  # noqa: E731
        await asyncio.to_thread(wait_until, running, seconds=10, what="ten words are stored")
        await asyncio.to_thread(nodes.call, "two", "DELETE", f"/messages/{sent['reply']['message']}/")
        for events in await asyncio.gather(*following):
            assert (events[-1]["type"], events[-1]["status"]) == ("reply.finished", "stopped")
            assert events[-1]["message"] is None
        async with nodes.socket("two", chat) as late:
            assert (await seen_at(late, reply_id))[-1]["status"] == "stopped"
    gate.set()
