"""Against a real server, made with the official package: over HTTP, and as a program of the operator's over stdio."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from chats.tools.connections import PROGRAM_END_SECONDS, Sessions
from chats.tools.errors import ServerSilent, ServerUnreachable
from chats.tools.values import Endpoint
from config.tests.live import wait_until
from config.tests.servers import free_port, is_open

pytestmark = pytest.mark.rowless

MODULE = "chats.tools.tests.reference_server"


@pytest.fixture(scope="module")
def http() -> Iterator[Endpoint]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", MODULE, str(port)], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: is_open(port), seconds=30, what="the reference server listens")
        yield Endpoint(name="Reference", url=f"http://127.0.0.1:{port}/mcp", is_trusted=True)
        process.terminate()


@pytest.fixture
def stdio() -> Endpoint:
    return Endpoint(
        name="Reference",
        command=sys.executable,
        arguments=["-m", MODULE, "stdio"],
        environment={"OWN": "1"},
        is_trusted=True,
        directory=".",
    )


@pytest.fixture(params=["http", "stdio"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    sessions = Sessions()
    yield await sessions.connection(uuid4(), request.getfixturevalue(request.param))
    await sessions.close(seconds=PROGRAM_END_SECONDS)


async def test_tools_are_listed_and_called(connection: Any) -> None:
    found = await connection.list_tools()
    assert [tool.name for tool in found.tools] == ["add", "count", "fail", "environment"]
    assert [tool.annotations.get("readOnlyHint") for tool in found.tools] == [True, None, None, None]
    outcome = await connection.call("add", {"a": 2, "b": 3}, seconds=10)
    assert (outcome.text, outcome.structured, outcome.is_error) == ("5", {"result": 5}, False)


async def test_progress_comes_while_a_call_runs(connection: Any) -> None:
    steps: list[tuple[float, float | None, str]] = []

    async def tell(progress: float, total: float | None, words: str) -> None:
        steps.append((progress, total, words))

    outcome = await connection.call("count", {"steps": 3, "seconds": 0}, seconds=10, on_progress=tell)
    assert outcome.text == "Counted"
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


async def test_errors_are_results(connection: Any) -> None:
    for name, arguments in (("fail", {}), ("add", {"a": "x"}), ("no_such", {})):
        outcome = await connection.call(name, arguments, seconds=10)
        assert outcome.is_error
        assert outcome.text


async def test_a_call_is_given_up_and_cancelled(connection: Any) -> None:
    with pytest.raises(ServerSilent):
        await connection.call("count", {"steps": 3, "seconds": 60}, seconds=0.2)
    calling = asyncio.create_task(connection.call("count", {"steps": 3, "seconds": 60}, seconds=60))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert (await connection.call("add", {"a": 1, "b": 1}, seconds=10)).text == "2"


async def test_a_program_gets_no_variable_of_ours(stdio: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "canary")
    sessions = Sessions()
    connection = await sessions.connection(uuid4(), stdio)
    outcome = await connection.call("environment", {}, seconds=10)
    await sessions.close(seconds=PROGRAM_END_SECONDS)
    assert "OWN" in outcome.structured["result"]
    assert not {"SECRET_KEY", "DATABASE_URL", "DATA_DIR"} & set(outcome.structured["result"])


async def test_a_program_that_is_not_there_is_unreachable() -> None:
    sessions = Sessions()
    with pytest.raises(ServerUnreachable):
        await sessions.connection(uuid4(), Endpoint(name="Gone", command="/no/such/program"))
