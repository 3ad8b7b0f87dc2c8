"""Servers that die between and in the middle of calls: what was finished does not run again, and nobody guesses."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.replies.tests.stage import LOOK, calling, rounds
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool
from config.tests import servers
from config.tests.cluster import Cluster, person_and_model
from config.tests.live import wait_until
from config.tests.prepared import new_database, prepared_cluster

pytestmark = pytest.mark.timeout(180)

DONE = Script(text="All done.")


class Agents:
    """One that accepts and one that runs replies: the same process on SQLite, and two, and then a third, elsewhere."""

    def __init__(self, made: Cluster, provider: FakeProvider, mcp: FakeMcpServer) -> None:
        self.cluster, self.provider, self.mcp = made, provider, mcp
        self.front = "node" if settings.IS_SQLITE else "front"
        self.key, _ = person_and_model(made.manage, base_url=provider.base_url, model_id="fake-1", name="Fake")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self.cluster.call(self.front, method, path, body, key=self.key)

    def allow(self, *names: str) -> None:
        for earlier in self.call("GET", "/mcp-servers/")["results"]:
            self.call("DELETE", f"/mcp-servers/{earlier['id']}/")
        server = self.call("POST", "/mcp-servers/", {"name": "Fake", "config": {"url": self.mcp.url}})
        for tool in self.call("GET", f"/mcp-servers/{server['id']}/tools/")["results"]:
            if tool["name"] in names:
                self.call("PATCH", f"/tools/{tool['id']}/", {"policy": "allow"})

    def ask(self) -> str:
        chat = self.call("POST", "/chats/", {})["id"]
        sent = {"content": "Count", "model": "Fake"}
        return self.call("POST", f"/chats/{chat}/messages/", sent)["reply"]["id"]

    def replace(self) -> None:
        """Kill what runs replies, as a machine dies, and start another."""
        runner = self.cluster.nodes["node" if settings.IS_SQLITE else "worker"]
        runner.kill()
        if settings.IS_SQLITE:
            runner.start()
            runner.wait_ready()
        else:
            self.cluster.add("worker", "worker").wait_ready()

    def reply(self, reply_id: str) -> Any:
        return self.call("GET", f"/replies/{reply_id}/")

    def wait(self, reply_id: str, status: str) -> Any:
        wait_until(lambda: self.reply(reply_id)["status"] == status, seconds=40, what=f"the reply is {status}")
        return self.reply(reply_id)

    def results(self, reply: Any) -> list[str]:
        messages = self.call("GET", f"/chats/{reply['chat']}/messages/")["results"]
        return [message["content"] for message in messages if message["role"] == "tool"]


@pytest.fixture
def agents(_agents: Agents, fake_provider: FakeProvider, mcp: FakeMcpServer) -> Agents:
    return _agents


@pytest.fixture(scope="module")
def _agents(
    tmp_path_factory: pytest.TempPathFactory, _fake_provider: FakeProvider, _mcp: FakeMcpServer
) -> Iterator[Agents]:
    folder: Path = tmp_path_factory.mktemp("agents")
    common = {
        "OUTBOUND_ALLOWED_HOSTS": "127.0.0.1",
        "REPLY_HEARTBEAT_SECONDS": "0.5",
        "REPLY_STALE_SECONDS": "2",
    }
    if settings.IS_SQLITE:
        with prepared_cluster(folder, kinds={"node": "both"}, **common) as made:
            yield Agents(made, _fake_provider, _mcp)
        return
    url = new_database("agents")
    with (
        servers.running_redis(folder / "redis") as redis_url,
        prepared_cluster(
            folder, database_url=url, redis_url=redis_url, kinds={"front": "web", "worker": "worker"}, **common
        ) as made,
    ):
        yield Agents(made, _fake_provider, _mcp)


def counting(name: str, **more: Any) -> FakeTool:
    return FakeTool(name, f"Counts {name}", run=f"Counted {name}", **more)


def test_a_server_that_is_killed_between_two_calls_runs_none_twice(agents: Agents) -> None:
    gate = threading.Event()
    agents.mcp.tools = [counting("first"), LOOK]
    agents.allow("first")
    agents.provider.answer_by(
        rounds(
            calling(("fake__first", {"n": 1})),
            Script(text="", tool_calls=[("fake__look_up", "{}")], finish_reason="tool_calls", gate=gate),
            DONE,
        )
    )
    reply_id = agents.ask()
    # The first call is over, and the model is being asked for the next.
    assert agents.provider.wait_requests(2, timeout=20)
    agents.replace()
    gate.set()
    reply = agents.wait(reply_id, "completed")
    assert agents.mcp.calls == {"first": 1, "look_up": 1}
    assert [call["status"] for call in reply["calls"]] == ["done", "done"]
    assert agents.results(reply) == ["Counted first", "Found {}"]


def test_a_call_that_was_running_is_repeated_only_if_it_reads(agents: Agents) -> None:
    gate = threading.Event()
    agents.mcp.tools = [
        counting("write", gate=gate),
        FakeTool("look_up", "Looks up", annotations={"readOnlyHint": True}, gate=gate, run="Found"),
        counting("quick"),
    ]
    agents.allow("write", "quick")
    step = calling(("fake__write", {}), ("fake__look_up", {}), ("fake__quick", {}))
    agents.provider.answer_by(rounds(step, DONE))
    reply_id = agents.ask()
    for name in ("write", "look_up", "quick"):
        assert agents.mcp.wait_calls(name, 1, timeout=20)
    wait_until(
        lambda: [call["status"] for call in agents.reply(reply_id)["calls"]] == ["running", "running", "done"],
        seconds=10,
        what="the quick one is stored",
    )
    agents.replace()
    gate.set()
    reply = agents.wait(reply_id, "completed")
    assert agents.mcp.calls == {"write": 1, "look_up": 2, "quick": 1}
    assert [call["status"] for call in reply["calls"]] == ["unknown", "done", "done"]
    assert "outcome of this call is unknown" in "".join(agents.results(reply))
    told = [m["content"] for m in agents.provider.requests[-1].body["messages"] if m["role"] == "tool"]
    assert "outcome of this call is unknown" in "".join(told)


def test_an_approval_after_a_restart_goes_on_with_the_reply(agents: Agents) -> None:
    agents.mcp.tools = [counting("write")]
    agents.allow()
    agents.provider.answer_by(rounds(calling(("fake__write", {"a": 1})), DONE))
    reply_id = agents.ask()
    (call,) = agents.wait(reply_id, "waiting")["calls"]
    agents.replace()
    assert agents.reply(reply_id)["status"] == "waiting"
    agents.call("POST", f"/replies/{reply_id}/approvals/", {"call": call["call"], "approved": True})
    reply = agents.wait(reply_id, "completed")
    assert (agents.mcp.calls, reply["calls"][0]["decision"]) == ({"write": 1}, "once")
