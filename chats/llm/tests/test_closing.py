"""Stopping stops: the provider's connection closes at once. A finished answer gives it back for the next one."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncGenerator

import pytest

from chats.llm.errors import ProviderError
from chats.llm.registry import close_sessions, open_stream
from chats.llm.tests.conftest import HELLO, MODEL, Ask, outcome_of
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Limits, StreamEvent, Target

ENDLESS = Script(chunks=["."] * 10_000, tokens_per_second=500)


@pytest.fixture
def stream(fake_provider: FakeProvider, target: Target) -> AsyncGenerator[StreamEvent, None]:
    fake_provider.script(MODEL, ENDLESS)
    return open_stream(target, HELLO, Limits())


async def test_closing_the_stream_closes_the_connection(stream, fake_provider: FakeProvider, eventually) -> None:
    await anext(stream)
    await stream.aclose()
    assert await eventually(fake_provider.wait_closed, 1, 1)


async def test_breaking_out_closes_the_connection(stream, fake_provider: FakeProvider, eventually) -> None:
    async with contextlib.aclosing(stream):
        async for _ in stream:
            break
    assert await eventually(fake_provider.wait_closed, 1, 1)


async def test_a_forgotten_stream_closes_its_connection(
    fake_provider: FakeProvider, target: Target, eventually
) -> None:
    fake_provider.script(MODEL, ENDLESS)
    async for _ in open_stream(target, HELLO, Limits()):
        break
    gc.collect()
    assert await eventually(fake_provider.wait_closed, 1, 1)


@pytest.mark.parametrize("script", [ENDLESS, Script(hang=True), Script(stall_after=0), Script(comments_only=True)])
async def test_cancelling_the_reader_closes_the_connection(
    fake_provider: FakeProvider, target: Target, script: Script, eventually
) -> None:
    fake_provider.script(MODEL, script)
    reader = asyncio.create_task(outcome_of(target))
    assert await eventually(fake_provider.wait_requests)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await eventually(fake_provider.wait_closed, 1, 1)


async def test_closing_the_sessions_ends_a_stream_under_way(stream, fake_provider: FakeProvider, eventually) -> None:
    await anext(stream)
    await close_sessions()
    with pytest.raises(ProviderError):
        async for _ in stream:
            pass
    assert await eventually(fake_provider.wait_closed, 1, 1)


async def test_finished_answers_share_a_connection(ask: Ask, fake_provider: FakeProvider) -> None:
    for _ in range(5):
        assert (await ask(Script(text="one two"))).finish == "stop"
    assert fake_provider.connections == 1
    assert fake_provider.closed == 0


async def test_an_end_of_the_body_that_lags_behind_is_waited_for(ask: Ask, fake_provider: FakeProvider) -> None:
    gate = threading.Event()
    done = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    asyncio.get_running_loop().call_later(0.02, gate.set)
    await ask(Script(raw=[done], gate=gate, gate_after=1))
    await ask()
    assert fake_provider.connections == 1


async def test_what_follows_done_is_read_and_dropped(ask: Ask, fake_provider: FakeProvider) -> None:
    done = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    outcome = await ask(Script(raw=[done, b": bye\n\n", b": bye\n\n"], tokens_per_second=100))
    assert (outcome.finish, outcome.text) == ("stop", "")
    await ask()
    assert fake_provider.connections == 1


async def test_a_body_that_does_not_end_is_closed(ask: Ask, fake_provider: FakeProvider, eventually) -> None:
    done = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    outcome = await ask(Script(raw=[done, b""], stall_after=1))
    assert outcome.finish == "stop"
    assert await eventually(fake_provider.wait_closed)


async def test_a_session_opens_again_after_it_was_closed(ask: Ask) -> None:
    assert (await ask()).finish == "stop"
    await close_sessions()
    await close_sessions()
    assert (await ask()).finish == "stop"


async def test_cookies_are_not_kept(ask: Ask, fake_provider: FakeProvider) -> None:
    await ask(Script(headers={"Set-Cookie": "track=1; Path=/"}))
    await ask()
    assert "cookie" not in fake_provider.requests[1].headers


async def test_proxies_of_the_environment_are_not_used(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await ask()).finish == "stop"
