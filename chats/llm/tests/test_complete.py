"""A short answer as a whole, as titles need it."""

import pytest

from chats.llm.errors import ProviderBusy
from chats.llm.registry import complete
from chats.llm.tests.conftest import HELLO, MODEL
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Limits, Target


async def test_the_text_and_the_usage_come_back(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script(MODEL, Script(text="A fine title", reasoning=["Hm"]))
    text, usage = await complete(target, HELLO, Limits(), max_chars=60)
    assert text == "A fine title"
    assert usage is not None
    assert usage.output_tokens == 4


async def test_what_is_longer_is_cut_and_the_provider_stopped(
    fake_provider: FakeProvider, target: Target, eventually
) -> None:
    fake_provider.script(MODEL, Script(chunks=["word "] * 5_000, tokens_per_second=500))
    text, usage = await complete(target, HELLO, Limits(), max_chars=12)
    assert (text, usage) == ("word word wo", None)
    assert await eventually(fake_provider.wait_closed)


async def test_failures_pass_through(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script(MODEL, Script(status=429, headers={"Retry-After": "3"}))
    with pytest.raises(ProviderBusy) as caught:
        await complete(target, HELLO, Limits(), max_chars=60)
    assert caught.value.retry_after_seconds == 3
