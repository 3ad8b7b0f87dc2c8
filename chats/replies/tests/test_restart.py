"""A server that is killed in mid-answer: the next one goes on, and says so to whoever watches."""

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.message import Message
from pathlib import Path

import pytest
from django.conf import settings

from chats.llm.tests.fake_provider import FakeProvider, Script
from config.tests.cluster import Cluster, Process, person_and_model
from config.tests.live import wait_until
from config.tests.prepared import prepared_cluster

pytestmark = pytest.mark.skipif(not settings.IS_SQLITE, reason="it starts the embedded default, which is SQLite")

WORDS = [f" word{i}" for i in range(40)]


class Server:
    """The embedded default with one person and a model. `node` is its process, to be killed and started again."""

    def __init__(self, made: Cluster, provider: FakeProvider) -> None:
        self.cluster = made
        self.database = Path(made.environment["DATA_DIR"]) / "parley.sqlite3"
        self.key, _ = person_and_model(made.manage, base_url=provider.base_url, model_id="fake-1", name="Fake")

    @property
    def node(self) -> Process:
        return self.cluster.nodes["server"]

    def start(self) -> None:
        self.node.start()
        self.node.wait_ready()

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        return self.cluster.call("server", method, path, body, key=self.key)

    def ask(self, question: dict) -> tuple[int, Message, dict]:
        with self.cluster.open("server", "POST", "/chat/", question, key=self.key) as answer:
            return answer.status, answer.headers, json.load(answer)

    def reply(self, reply_id: str) -> dict:
        return self.call("GET", f"/replies/{reply_id}/")

    def events(self, reply_id: str) -> list[dict]:
        with self.cluster.open("server", "GET", f"/replies/{reply_id}/events/", key=self.key) as answer:
            lines = answer.read().decode().splitlines()
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    def text(self, reply_id: str) -> str:
        return self.call("GET", f"/messages/{self.reply(reply_id)['message']}/")["content"]


@pytest.fixture
def server(tmp_path: Path, fake_provider: FakeProvider) -> Iterator[Server]:
    with prepared_cluster(tmp_path, kinds={"server": "both"}) as made:
        yield Server(made, fake_provider)


def _send_and_wait_for_ten_words(server: Server) -> str:
    chat = server.call("POST", "/chats/", {})
    path = f"/chats/{chat['id']}/messages/"
    reply_id = server.call("POST", path, {"content": "Count for me", "model": "Fake"})["reply"]["id"]
    wait_until(lambda: server.text(reply_id) == "".join(WORDS[:10]), seconds=5, what="ten words are stored")
    return reply_id


def _wait_for_end(server: Server, reply_id: str) -> dict:
    wait_until(
        lambda: server.reply(reply_id)["status"] not in ("queued", "running"), seconds=20, what="the reply is over"
    )
    return server.reply(reply_id)


@pytest.mark.timeout(120)
def test_a_reply_whose_server_is_killed_is_finished_by_the_next_and_given_up_after_the_last_attempt(
    server, fake_provider
):
    held = Script(chunks=WORDS, gate=threading.Event(), gate_after=10)
    fake_provider.script("fake-1", held)
    finished_id = _send_and_wait_for_ten_words(server)
    server.node.kill()

    fake_provider.script("fake-1", Script(chunks=WORDS))
    server.start()
    reply = _wait_for_end(server, finished_id)
    assert reply["status"] == "completed"
    assert server.text(finished_id) == "".join(WORDS)
    assert reply["usage"]["is_estimated"], "what the killed attempt had used is booked too"
    kinds = [event["type"] for event in server.events(finished_id)]
    assert (kinds[0], kinds[-1]) == ("reply.restarted", "reply.finished")

    fake_provider.script("fake-1", held)
    lost_id = _send_and_wait_for_ten_words(server)
    asked = len(fake_provider.requests)
    server.node.kill()
    server.start()
    wait_until(lambda: len(fake_provider.requests) > asked, seconds=10, what="it is asked for again")
    server.node.kill()
    server.start()
    reply = _wait_for_end(server, lost_id)
    assert reply["status"] == "interrupted"
    assert reply["error"]["code"] == "interrupted"
    assert server.text(lost_id) == "".join(WORDS[:10])


@pytest.mark.timeout(120)
def test_a_server_told_to_stop_lets_its_reply_finish(server, fake_provider):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=gate, gate_after=10))
    reply_id = _send_and_wait_for_ten_words(server)

    server.node.ask_to_end()
    gate.set()
    assert server.node.wait_ended() == 0
    server.start()
    assert server.reply(reply_id)["status"] == "completed"
    assert server.text(reply_id) == "".join(WORDS)
    assert len([request for request in fake_provider.requests if request.method == "POST"]) == 1


@pytest.mark.timeout(120)
def test_who_waits_for_an_answer_when_the_server_is_told_to_stop_hears_that_it_goes_on(server, fake_provider):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=gate, gate_after=10))
    question = {"message": "Count for me", "model": "Fake", "client_id": "once"}
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(server.ask, question)
        wait_until(lambda: _newest_text(server) == "".join(WORDS[:10]), seconds=10, what="ten words are stored")
        server.node.ask_to_end()
        status, headers, body = waiting.result(10)
    assert (status, body["reply"]["status"], body["message"]["content"]) == (202, "running", "".join(WORDS[:10]))
    assert headers["Location"] == f"/api/v1/replies/{body['reply']['id']}/"
    gate.set()
    assert server.node.wait_ended() == 0
    assert "Exception" not in server.node.log.read_text()

    server.start()
    status, _, again = server.ask(question)
    assert (status, again["reply"]["id"], again["reply"]["status"]) == (200, body["reply"]["id"], "completed")
    assert again["message"]["content"] == "".join(WORDS)
    assert len([request for request in fake_provider.requests if request.method == "POST"]) == 1


def _newest_text(server: Server) -> str:
    chats = server.call("GET", "/chats/")["results"]
    messages = server.call("GET", f"/chats/{chats[0]['id']}/messages/")["results"] if chats else [{"content": ""}]
    return messages[-1]["content"]


@pytest.mark.timeout(120)
def test_a_running_server_forgets_client_ids_of_the_day_before_yesterday(server):
    path = f"/chats/{server.call('POST', '/chats/', {})['id']}/messages/"
    body = {"content": "Hello", "model": "Fake", "client_id": "once"}
    first = server.call("POST", path, body)["reply"]["id"]
    _wait_for_end(server, first)
    assert server.call("POST", path, body)["reply"]["id"] == first
    server.node.end()
    with closing(sqlite3.connect(server.database)) as database, database:
        database.execute("UPDATE chats_reply SET created_at = datetime('now', '-49 hours')")
    server.start()
    wait_until(lambda: _remembered(server) == 0, seconds=10, what="it is forgotten")
    second = server.call("POST", path, body)["reply"]["id"]
    assert second != first
    _wait_for_end(server, second)


def _remembered(server: Server) -> int:
    with closing(sqlite3.connect(server.database)) as database:
        return database.execute("SELECT count(*) FROM chats_reply WHERE client_id IS NOT NULL").fetchone()[0]


@pytest.mark.timeout(120)
def test_however_often_servers_are_told_to_stop_a_reply_is_not_given_up(server, fake_provider):
    server.node.end()
    node = server.cluster.add("server", "both", SHUTDOWN_GRACE_SECONDS="0", REPLY_MAX_ATTEMPTS="1")
    node.wait_ready()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=threading.Event(), gate_after=10))
    reply_id = _send_and_wait_for_ten_words(server)
    for asked in (2, 3):
        assert server.node.end() == 0
        server.start()
        assert fake_provider.wait_requests(asked)
    fake_provider.script("fake-1", Script(chunks=WORDS))
    assert server.node.end() == 0
    server.start()
    assert _wait_for_end(server, reply_id)["status"] == "completed"
    assert server.text(reply_id) == "".join(WORDS)


def test_a_second_server_on_the_same_data_is_refused(server):
    command = [sys.executable, "manage.py", "serve", "--port", "0"]
    second = subprocess.run(
        command, env=server.cluster.environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert second.returncode != 0
    assert "already serves" in second.stderr
