"""Programs of the operator's that flood, die, do not listen or do not end: they cost only themselves."""

import asyncio
import gc
import os
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chats.tools.connections import PROGRAM_END_SECONDS, Sessions
from chats.tools.errors import ServerNonsense, ServerUnreachable
from chats.tools.tests import fake_program
from chats.tools.values import Endpoint
from config.tests.live import wait_until

pytestmark = pytest.mark.rowless

MEGABYTE = 1_000_000
Call = Callable[..., Awaitable[Any]]


def endpoint(behaviour: str, **environment: str) -> Endpoint:
    arguments = ["-S", "-E", fake_program.__file__, behaviour]
    how = {"command": sys.executable, "arguments": arguments, "environment": environment}
    return Endpoint(name="Fake", is_trusted=True, directory=".", **how)


@asynccontextmanager
async def run_with(behaviour: str) -> AsyncIterator[Call]:
    """What an answer does: `await call(**arguments)`, of the one program, or of a new one where it is gone."""
    sessions, server_id = Sessions(), uuid4()

    async def call(seconds: float = 10, **arguments: Any) -> str:
        connection = await sessions.connection(server_id, endpoint(behaviour))
        return (await connection.call("echo", arguments, seconds=seconds)).text

    try:
        yield call
    finally:
        # The loop of a test ends with it.
        await sessions.close(seconds=PROGRAM_END_SECONDS)


def is_running(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_what_is_no_message_is_passed_over() -> None:
    async with run_with("chatty") as call:
        first = await call()
        assert first == await call()


async def test_a_line_without_end_is_given_up_within_bounds() -> None:
    async with run_with("endless-line") as call:
        tracemalloc.start()
        try:
            with pytest.raises(ServerNonsense, match="more than is taken") as caught:
                await call()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert caught.value.is_begun
    assert peak < 40 * MEGABYTE  # loading the client of MCP included


@pytest.mark.parametrize("behaviour", ["endless-lines", "endless-pings"])
async def test_lines_without_end_are_given_up(behaviour: str) -> None:
    async with run_with(behaviour) as call:
        with pytest.raises(ServerNonsense, match="more than is taken"):
            await call()


@pytest.mark.parametrize("behaviour", ["deep", "no-message", "several", "unreadable"])
async def test_a_message_that_nobody_can_read_is_no_reason_to_wait(behaviour: str) -> None:
    async with run_with(behaviour) as call:
        with pytest.raises(ServerNonsense, match="Fake wrote"):
            await call(seconds=60)


async def test_what_it_answers_is_washed() -> None:
    async with run_with("odd") as call:
        assert await call() == "[hologram that Parley can't show]\n\nafter it"


@pytest.mark.parametrize("behaviour", ["marked", "answers-late"])
async def test_what_is_odd_and_can_be_read_is_read(behaviour: str) -> None:
    async with run_with(behaviour) as call:
        assert await call()


@pytest.mark.parametrize("code", [-32_000, -32_001])
async def test_words_of_its_own_are_passed_on(code: int) -> None:
    async with run_with("refuses") as call:
        with pytest.raises(ServerNonsense, match="Fake failed: «Out of paper»"):
            await call(code=code)


async def test_a_code_that_is_none_is_nonsense() -> None:
    async with run_with("refuses") as call:
        with pytest.raises(ServerNonsense, match="Fake wrote what is not MCP"):
            await call(code=[])


async def test_one_of_another_age_is_told_apart() -> None:
    with pytest.raises(ServerNonsense, match="speaks a version of MCP that Parley does not speak"):
        async with run_with("speaks-otherwise") as call:
            await call()


SECRETS = {"A": "abcd", "B": "abcdefgh1234", "C": 'two\nlines "quoted"', "D": "secret-" + "x" * 200}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("behaviour", ["blurts", "blurts-in-json", "blurts-much"])
async def test_what_it_wrote_last_is_told_without_its_secrets(name: str, behaviour: str) -> None:
    sessions = Sessions()
    with pytest.raises(ServerUnreachable) as caught:
        await sessions.connection(uuid4(), endpoint(behaviour, **SECRETS, BLURTED=name))
    assert "The secret is" in caught.value.detail
    pieces = ["efgh", "1234", "quoted", "lines", "xxxx", "abcd"]
    assert not [piece for piece in pieces if piece in caught.value.detail], caught.value.detail
    await sessions.close(seconds=PROGRAM_END_SECONDS)


async def test_descriptors_are_closed_once() -> None:
    """What is closed a second time may be somebody else's by then."""
    for _ in range(10):
        async with run_with("chatty") as call:
            await call()
        mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
        await asyncio.sleep(0)
        for descriptor in mine:
            os.close(descriptor)  # raises OSError where somebody has done so


async def test_it_inherits_nothing_but_its_three() -> None:
    async with run_with("counts-descriptors") as call:
        assert await call() == "0 1 2"


async def test_a_long_notice_costs_only_itself() -> None:
    async with run_with("noticing") as call:
        assert await call() == "after it"


async def test_what_came_before_nonsense_is_heard() -> None:
    async with run_with("answers-and-babbles") as call:
        assert await call() == "before it"


async def test_one_that_dies_in_a_call_is_started_again_for_the_next() -> None:
    async with run_with("dies") as call:
        first = await call()
        with pytest.raises(ServerUnreachable) as caught:
            await call(die=True)
        assert caught.value.is_begun
        assert await call() != first


async def test_one_that_is_flooding_is_started_again_for_the_next() -> None:
    async with run_with("endless-lines") as call:
        for _ in range(2):
            with pytest.raises(ServerNonsense, match="more than is taken"):
                await call()


@pytest.mark.parametrize("behaviour", ["complains", "complains-in-lines", "endless-lines"])
async def test_one_that_goes_on_writing_takes_nothing_from_others(behaviour: str) -> None:
    async with run_with(behaviour) as call:
        with suppress(ServerNonsense):
            await call()
        began = time.thread_time()
        await asyncio.sleep(1)
        assert time.thread_time() - began < 0.3


async def test_one_that_does_not_listen_holds_nobody_up() -> None:
    async with run_with("deaf") as call, run_with("chatty") as call_other:
        await call()
        stuck = asyncio.create_task(call(long="x" * MEGABYTE))
        assert await call_other() == await call_other()
        assert not stuck.done()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck


@pytest.mark.parametrize("behaviour", ["stubborn", "parent"])
async def test_it_ends_with_the_answer_and_all_that_it_has_started(behaviour: str) -> None:
    async with run_with(behaviour) as call:
        pids = (await call()).split()
        assert [is_running(pid) for pid in pids] == [True, True]
    # On a thread, as it is this loop that sees to it.
    await asyncio.to_thread(
        wait_until, lambda: not any(map(is_running, pids)), seconds=20, what="nothing is left of it"
    )


def test_it_ends_too_where_the_loop_ends_with_the_answer() -> None:
    """As when the process is told to stop."""

    async def answer() -> list[str]:
        sessions = Sessions()
        connection = await sessions.connection(uuid4(), endpoint("stubborn"))
        pids = (await connection.call("echo", {}, seconds=10)).text.split()
        await sessions.close(seconds=0)
        return pids

    pids = asyncio.run(answer())
    wait_until(lambda: not any(map(is_running, pids)), seconds=20, what="nothing is left of it")
    gc.collect()
