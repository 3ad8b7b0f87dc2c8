"""Tool calls are put together from pieces, also those of servers that number them badly."""

import json
from typing import Any

import pytest

from chats.llm.tests.conftest import Ask
from chats.llm.tests.fake_provider import Script


def wire(*deltas: dict[str, Any]) -> Script:
    chunks = [b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n" for delta in deltas]
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}\n\ndata: [DONE]\n\n'
    return Script(raw=[*chunks, end])


def piece(arguments: Any = "", *, call_id: str | None = None, name: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}, **rest}


async def test_parallel_calls_are_put_together(ask: Ask) -> None:
    calls = [("weather", '{"city": "Zürich"}'), ("time", "{}")]
    outcome = await ask(Script(text="", tool_calls=calls, finish_reason="tool_calls"))
    assert outcome.tool_calls == [("call_0", "weather", '{"city": "Zürich"}'), ("call_1", "time", "{}")]
    assert outcome.finish == "tool_calls"


async def test_text_before_a_call_stays_before_it(ask: Ask) -> None:
    outcome = await ask(Script(text="Let me see", tool_calls=[("f", "{}")]))
    kinds = [type(event).__name__ for event in outcome.events]
    assert kinds.index("TextDelta") < kinds.index("ToolCallDelta")


TWO = [("a", "f", '{"x": 1}'), ("b", "g", "{}")]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                {"tool_calls": [piece('{"x": 1}', call_id="a", name="f")]},
                {"tool_calls": [piece("{}", call_id="b", name="g")]},
            ],
            id="whole calls without an index",
        ),
        pytest.param(
            [
                {
                    "tool_calls": [
                        piece('{"x": 1}', call_id="a", name="f", index=0),
                        piece("{}", call_id="b", name="g", index=0),
                    ]
                }
            ],
            id="whole calls under one index",
        ),
        pytest.param(
            [
                {"tool_calls": [piece('{"x"', call_id="a", name="f")]},
                {"tool_calls": [piece(": 1}")]},
                {"tool_calls": [piece("{}", call_id="b", name="g")]},
            ],
            id="pieces without an index",
        ),
        pytest.param(
            [
                {"tool_calls": [piece('{"x"', call_id="a", name="f", index=3)]},
                {"tool_calls": [piece("{}", call_id="b", name="g", index=7)]},
                {"tool_calls": [piece(": 1}", call_id="a", name="f", index=3)]},
            ],
            id="indexes with gaps, id and name repeated",
        ),
        pytest.param(
            [{"tool_calls": [piece({"x": 1}, call_id="a", name="f"), piece({}, call_id="b", name="g")]}],
            id="arguments as objects",
        ),
        pytest.param(
            [
                {"tool_calls": ["nonsense", {"function": 7}, piece('{"x": 1}', call_id="a", name="f", index="0")]},
                {"tool_calls": [piece(None, call_id="b", name="g", index=True), piece("{}")]},
            ],
            id="nonsense in between",
        ),
    ],
)
async def test_badly_numbered_calls_are_told_apart(ask: Ask, deltas: list[dict[str, Any]]) -> None:
    assert [call for call in (await ask(wire(*deltas))).tool_calls if any(call)] == TWO


async def test_calls_without_ids_are_told_apart_by_name(ask: Ask) -> None:
    outcome = await ask(wire({"tool_calls": [piece("{}", name="f"), piece("{}", name="g")]}))
    assert outcome.tool_calls == [("", "f", "{}"), ("", "g", "{}")]


async def test_the_old_single_function_call_is_understood(ask: Ask) -> None:
    outcome = await ask(wire({"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}))
    assert outcome.tool_calls == [("", "f", "{}")]


async def test_calls_without_end_are_bounded(ask: Ask) -> None:
    outcome = await ask(wire({"tool_calls": [piece("{}", call_id=f"c{n}", name="f", index=n) for n in range(500)]}))
    assert len(outcome.tool_calls) == 128


async def test_what_no_database_stores_is_cleaned(ask: Ask) -> None:
    outcome = await ask(
        wire(
            {"tool_calls": [piece("\ud83d", call_id="a\x00", name="f\ud800", index=0)]},
            {"tool_calls": [piece("\ude00\ud83d", index=0)]},
        )
    )
    assert outcome.tool_calls == [("a\ufffd", "f\ufffd", "😀\ufffd")]


async def test_an_id_or_a_name_cannot_grow_a_reply_beyond_its_limit(ask: Ask) -> None:
    outcome = await ask(wire({"tool_calls": [piece("{}", call_id="i" * 100_000, name="n" * 100_000, index=0)]}))
    [(call_id, name, arguments)] = outcome.tool_calls
    assert (len(call_id), len(name), arguments) == (256, 256, "{}")
