"""The first words come at once; later ones are gathered in windows, and none of them is lost."""

import pytest

from chats.llm.errors import StreamCut
from chats.llm.registry import open_stream
from chats.llm.tests.conftest import HELLO, MODEL, Ask
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Limits, Target, TextDelta

WORDS = [f" word{i}" for i in range(40)]


async def test_a_fast_answer_comes_in_few_pieces(ask: Ask) -> None:
    outcome = await ask(Script(chunks=WORDS, tokens_per_second=400), window_seconds=0.05)
    deltas = [event for event in outcome.events if isinstance(event, TextDelta)]
    assert outcome.text == "".join(WORDS)
    assert len(deltas) < 10
    assert outcome.finish == "stop"


@pytest.mark.parametrize("count", [1, 2, 20, 39])
async def test_what_came_before_the_connection_broke_is_not_lost(ask: Ask, count: int) -> None:
    outcome = await ask(Script(chunks=WORDS, drop_after=count), window_seconds=0.05)
    assert outcome.text == "".join(WORDS[:count])
    assert type(outcome.error) is StreamCut


async def test_closing_while_a_window_is_open_closes_the_connection(
    target: Target, fake_provider: FakeProvider, eventually
) -> None:
    fake_provider.script(MODEL, Script(chunks=WORDS, stall_after=1))
    stream = open_stream(target, HELLO, Limits(window_seconds=30))
    assert await anext(stream) == TextDelta(WORDS[0])
    await stream.aclose()
    assert await eventually(fake_provider.wait_closed)
