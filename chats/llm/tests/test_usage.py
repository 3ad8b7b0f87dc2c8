"""Nonsense in usage fields never credits anyone: counts are whole numbers that add up, or there are none."""

from typing import Any

import pytest

from chats.llm.tests.conftest import Ask
from chats.llm.tests.fake_provider import Script

NONSENSE = [-1, "12", 1.5, True, None, 10**9, 10**30, [], {}]


def usage(**changes: Any) -> dict[str, Any]:
    return {"prompt_tokens": 100, "completion_tokens": 20, **changes}


async def test_counts_are_taken_apart(ask: Ask) -> None:
    details = {"cached_tokens": 60, "cache_write_tokens": 10}
    raw = usage(prompt_tokens_details=details, completion_tokens_details={"reasoning_tokens": 5})
    got = (await ask(Script(usage=raw))).usage
    counts = (
        got.input_tokens,
        got.cached_input_tokens,
        got.cache_write_tokens,
        got.output_tokens,
        got.reasoning_tokens,
    )
    assert counts == (100, 60, 10, 20, 5)
    assert got.raw == raw


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
async def test_a_count_that_is_none_makes_the_usage_unknown(ask: Ask, name: str, value: Any) -> None:
    outcome = await ask(Script(usage=usage(**{name: value})))
    assert (outcome.usage, outcome.finish) == (None, "stop")


@pytest.mark.parametrize("raw", ["lots", [1], 7, {"total_tokens": 9}, {"prompt_tokens": 0, "completion_tokens": 5}])
async def test_what_is_no_usage_is_none(ask: Ask, raw: Any) -> None:
    assert (await ask(Script(usage=raw))).usage is None


async def test_text_without_output_tokens_was_not_counted(ask: Ask) -> None:
    assert (await ask(Script(text="Hello", usage=usage(completion_tokens=0)))).usage is None


@pytest.mark.parametrize("value", NONSENSE)
async def test_nonsense_in_the_details_counts_as_nothing_special(ask: Ask, value: Any) -> None:
    details = {"cached_tokens": value, "cache_write_tokens": value}
    got = (await ask(Script(usage=usage(prompt_tokens_details=details, completion_tokens_details=value)))).usage
    assert (got.input_tokens, got.cached_input_tokens, got.cache_write_tokens, got.reasoning_tokens) == (100, 0, 0, 0)


async def test_a_part_is_never_more_than_its_whole(ask: Ask) -> None:
    details = {"cached_tokens": 5_000, "cache_write_tokens": 5_000}
    raw = usage(prompt_tokens_details=details, completion_tokens_details={"reasoning_tokens": 5_000})
    got = (await ask(Script(usage=raw))).usage
    assert (got.cached_input_tokens, got.cache_write_tokens, got.reasoning_tokens) == (100, 0, 20)


async def test_later_nonsense_does_not_replace_a_good_count(ask: Ask) -> None:
    good = (
        b'data: {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
    )
    bad = b'data: {"choices": [], "usage": {"prompt_tokens": -3, "completion_tokens": 1}}\n\ndata: [DONE]\n\n'
    assert (await ask(Script(raw=[good, bad]))).usage.input_tokens == 3


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "x" * 5_000])
async def test_a_raw_usage_that_cannot_be_stored_is_left_out(ask: Ask, odd: Any) -> None:
    got = (await ask(Script(usage=usage(odd=odd)))).usage
    assert (got.input_tokens, got.raw) == (100, {})
