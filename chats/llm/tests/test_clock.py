"""Nothing waits for ever: a provider has so long for its first token, and so long for each further one."""

import threading
import time

import pytest

from chats.llm.errors import ProviderTimeout
from chats.llm.registry import open_stream
from chats.llm.tests.conftest import HELLO, MODEL, Ask
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Finished, Limits, Target, TextDelta

pytestmark = pytest.mark.rowless

SOON = 0.05


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(hang=True), id="no headers"),
        pytest.param(Script(stall_after=0), id="no text"),
        pytest.param(Script(comments_only=True), id="bytes, but no content"),
        pytest.param(Script(chunks=["", "", ""], stall_after=2), id="empty content"),
        pytest.param(Script(headers={"Content-Type": "application/json"}, stall_after=0), id="half an object"),
    ],
)
async def test_no_first_token_in_time(ask: Ask, fake_provider: FakeProvider, script: Script, eventually) -> None:
    outcome = await ask(script, first_token_seconds=SOON)
    assert type(outcome.error) is ProviderTimeout
    assert "no text within 0.05 seconds" in outcome.error.message
    assert await eventually(fake_provider.wait_closed)


async def test_silence_in_mid_answer_keeps_the_text(ask: Ask, fake_provider: FakeProvider, eventually) -> None:
    outcome = await ask(Script(text="one two three", stall_after=2), silence_seconds=SOON)
    assert outcome.text == "one two"
    assert type(outcome.error) is ProviderTimeout
    assert "fell silent for 0.05 seconds" in outcome.error.message
    assert await eventually(fake_provider.wait_closed)


async def test_a_slow_but_steady_answer_is_not_cut(ask: Ask) -> None:
    script = Script(chunks=["."] * 20, tokens_per_second=50)  # 0.4 s in all
    outcome = await ask(script, first_token_seconds=0.3, silence_seconds=0.3)
    assert (len(outcome.text), outcome.finish) == (20, "stop")


async def test_the_time_a_reader_takes_is_not_the_providers(fake_provider: FakeProvider, target: Target) -> None:
    gate = threading.Event()
    fake_provider.script(MODEL, Script(text="one two", gate=gate, gate_after=1))
    kinds = []
    async for event in open_stream(target, HELLO, Limits(silence_seconds=0.15)):
        kinds.append(type(event))
        if len(kinds) == 1:
            time.sleep(0.2)  # noqa: ASYNC251 - the reader is busy, the loop too
            gate.set()
    assert kinds[0] is TextDelta
    assert kinds[-1] is Finished


async def test_what_follows_a_finish_reason_is_waited_for_only_briefly(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chats.llm.openai_reading.AFTER_FINISH_SECONDS", SOON)
    end = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    outcome = await ask(Script(raw=[end, b""], stall_after=1))
    assert (outcome.text, outcome.finish, outcome.error) == ("a", "stop", None)


async def test_words_after_a_finish_reason_do_not_make_it_last(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chats.llm.openai_reading.AFTER_FINISH_SECONDS", SOON)
    end = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    more = b'data: {"choices": [{"delta": {"content": "b"}}]}\n\n'
    outcome = await ask(Script(raw=[end, b""], flood_after=1, flood=more))
    assert (outcome.finish, outcome.error) == ("stop", None)
    assert outcome.text.startswith("a")


async def test_a_connection_that_breaks_after_the_finish_reason_has_done_its_work(ask: Ask) -> None:
    end = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    outcome = await ask(Script(raw=[end, b""], drop_after=1))
    assert (outcome.text, outcome.finish, outcome.error) == ("a", "stop", None)


async def test_a_failure_whose_body_never_ends_is_told_all_the_same(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chats.llm.openai_reading.AFTER_FINISH_SECONDS", SOON)
    outcome = await ask(Script(status=500, body=b"half", headers={"Content-Length": "100"}))
    assert "status 500" in outcome.error.message


async def test_a_flood_without_content_is_read_no_faster_than_content(ask: Ask) -> None:
    flood = [b":" + b" " * 65_534 + b"\n"] * 2_000  # 131 MB
    outcome = await ask(Script(raw=flood), first_token_seconds=1, window_seconds=0.05)
    assert type(outcome.error) is ProviderTimeout
