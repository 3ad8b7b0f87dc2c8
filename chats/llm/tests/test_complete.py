"""A short answer as a whole, as titles need it."""

from chats.llm.errors import ProviderBusy, ProviderTimeout, StreamCut
from chats.llm.registry import complete
from chats.llm.tests.conftest import HELLO, MODEL
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Limits, Target

LONG = 60.0  # seconds


async def test_the_text_and_the_usage_come_back(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script(MODEL, Script(text="A fine title", reasoning=["Hm"]))
    done = await complete(target, HELLO, Limits(), max_chars=60, seconds=LONG)
    assert (done.text, done.reasoning, done.failure) == ("A fine title", "Hm", None)
    assert done.usage is not None
    assert done.usage.output_tokens == 4


async def test_what_is_longer_is_cut_and_the_provider_stopped(
    fake_provider: FakeProvider, target: Target, eventually
) -> None:
    fake_provider.script(MODEL, Script(chunks=["word "] * 5_000, tokens_per_second=500))
    done = await complete(target, HELLO, Limits(), max_chars=12, seconds=LONG)
    assert (done.text, done.usage, done.failure) == ("word word wo", None, None)
    assert await eventually(fake_provider.wait_closed)


async def test_a_failure_is_told(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script(MODEL, Script(status=429, headers={"Retry-After": "3"}))
    done = await complete(target, HELLO, Limits(), max_chars=60, seconds=LONG)
    assert type(done.failure) is ProviderBusy
    assert done.failure.retry_after_seconds == 3


async def test_what_came_before_a_failure_is_there_to_be_booked(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script(MODEL, Script(text="Half a", drop_after=1))
    done = await complete(target, HELLO, Limits(), max_chars=60, seconds=LONG)
    assert (done.text, type(done.failure)) == ("Half", StreamCut)


async def test_one_that_goes_on_and_on_is_given_up(fake_provider: FakeProvider, target: Target, eventually) -> None:
    fake_provider.script(MODEL, Script(text="", reasoning=["Hm"] * 10_000, tokens_per_second=0, stall_after=0))
    done = await complete(target, HELLO, Limits(), max_chars=60, seconds=0.2)
    assert type(done.failure) is ProviderTimeout
    assert done.reasoning
    assert await eventually(fake_provider.wait_closed)
