"""A good answer arrives complete, whatever dialect of the OpenAI wire a server speaks."""

import json
from contextlib import aclosing
from threading import Event

import pytest

from chats.llm.errors import StreamCut
from chats.llm.passages import ABOUT_TOOLS
from chats.llm.registry import open_stream
from chats.llm.tests.conftest import HELLO, MODEL, Ask
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import (
    ChatMessage,
    ChatRequest,
    Finished,
    Limits,
    ReasoningDelta,
    Target,
    TextDelta,
    UsageReported,
)


def chunk(delta: dict, **choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, **choice}]}).encode() + b"\n\n"


STOP = chunk({}, finish_reason="stop") + b"data: [DONE]\n\n"


async def test_text_usage_and_the_finish_reason_arrive_in_this_order(ask: Ask) -> None:
    outcome = await ask(Script(text="Hello wide world"))
    assert outcome.text == "Hello wide world"
    assert [type(event) for event in outcome.events[-2:]] == [UsageReported, Finished]
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (1, 3)
    assert outcome.finish == "stop"
    assert outcome.error is None


async def test_each_chunk_is_passed_on_as_it_comes(fake_provider: FakeProvider, target: Target) -> None:
    gate = Event()
    fake_provider.script(MODEL, Script(chunks=["a", "b"], gate=gate, gate_after=1))
    async with aclosing(open_stream(target, HELLO, Limits())) as stream:
        assert await anext(stream) == TextDelta("a"), "while the provider holds the next one back"
        gate.set()
        assert await anext(stream) == TextDelta("b")


async def test_chunks_that_arrive_together_become_one_delta(ask: Ask) -> None:
    outcome = await ask(Script(raw=[b"".join(chunk({"content": f" {n}"}) for n in range(500)) + STOP]))
    deltas = [event for event in outcome.events if isinstance(event, TextDelta)]
    assert outcome.text == "".join(f" {n}" for n in range(500))
    assert len(deltas) < 20


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_told_apart_from_text(ask: Ask, name: str) -> None:
    outcome = await ask(Script(text="42", reasoning=["Let me", " think"], reasoning_field=name))
    assert (outcome.reasoning, outcome.text) == ("Let me think", "42")
    assert isinstance(outcome.events[0], ReasoningDelta)


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something_new", "stop"),
    ],
)
async def test_finish_reasons_are_mapped(ask: Ask, said: str, understood: str) -> None:
    assert (await ask(Script(finish_reason=said))).finish == understood


@pytest.mark.parametrize("said", ["error", "Cancelled", "abort", "insufficient_system_resource"])
async def test_a_reason_that_says_it_broke_off_is_no_end(ask: Ask, said: str) -> None:
    outcome = await ask(Script(text="Half of", finish_reason=said))
    assert (outcome.text, outcome.finish, type(outcome.error)) == ("Half of", None, StreamCut)


@pytest.mark.parametrize("said", [7, True, {"a": 1}, ["stop"]], ids=str)
async def test_a_reason_that_is_no_word_is_none(ask: Ask, said: object) -> None:
    outcome = await ask(Script(raw=[chunk({"content": "Half of"}, finish_reason=said)]))
    assert (outcome.text, outcome.finish) == ("Half of", None)


async def test_an_error_within_a_choice_is_one(ask: Ask) -> None:
    broken = chunk({"content": ""}, finish_reason="error", error={"code": 502, "message": "Upstream is gone"})
    outcome = await ask(Script(raw=[chunk({"content": "Half of"}), broken]))
    assert (outcome.text, outcome.finish) == ("Half of", None)
    assert "Upstream is gone" in outcome.error.message + outcome.error.detail


@pytest.mark.parametrize("place", ["finish_reason", "arguments"])
async def test_what_is_nested_too_deeply_costs_nothing_that_came_before(ask: Ask, place: str) -> None:
    deep = b'{"a":' * 1_000 + b"1" + b"}" * 1_000
    says = b'"finish_reason": ' + deep if place == "finish_reason" else b'"x": 1'
    calls = b', "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ' + deep + b"}}]"
    delta = b'{"content": "Half of"' + (calls if place == "arguments" else b"") + b"}"
    outcome = await ask(Script(raw=[b'data: {"choices": [{"delta": ' + delta + b", " + says + b"}]}\n\n"]))
    assert (outcome.text, outcome.finish) == ("Half of", None)


async def test_an_end_without_a_finish_reason_is_not_finished(ask: Ask) -> None:
    outcome = await ask(Script(text="Half of", finish_reason=None))
    assert (outcome.text, outcome.finish, outcome.error) == ("Half of", None, None)


async def test_a_finish_reason_counts_even_if_done_never_comes(ask: Ask) -> None:
    assert (await ask(Script(has_done=False))).finish == "stop"


async def test_usage_may_come_in_every_chunk_and_the_last_one_wins(ask: Ask) -> None:
    outcome = await ask(Script(text="one two three", usage="every"))
    assert outcome.usage.output_tokens == 3
    assert sum(isinstance(event, UsageReported) for event in outcome.events) == 1


async def test_an_empty_answer_is_finished(ask: Ask) -> None:
    outcome = await ask(Script(text=""))
    assert (outcome.text, outcome.finish, outcome.usage.output_tokens) == ("", "stop", 0)


@pytest.mark.parametrize(
    "content",
    [
        "plain",
        [{"type": "text", "text": "pl"}, {"type": "text", "text": "ain"}],
        [{"type": "text", "text": "plain"}, {"type": "image"}, 7],
    ],
)
async def test_content_may_be_text_or_parts(ask: Ask, content: object) -> None:
    assert (await ask(Script(raw=[chunk({"content": content}), STOP]))).text == "plain"


async def test_thinking_parts_are_reasoning(ask: Ask) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Yes"}]
    outcome = await ask(Script(raw=[chunk({"content": parts}), STOP]))
    assert (outcome.reasoning, outcome.text) == ("Hm", "Yes")


async def test_parts_within_parts_without_end_are_left_out_and_what_came_before_stays(ask: Ask) -> None:
    nested = b'[{"thinking": ' * 400 + b'"deep"' + b"}]" * 400
    odd = b'data: {"choices": [{"index": 0, "delta": {"content": %b}}]}\n\n' % nested
    outcome = await ask(Script(raw=[chunk({"content": "before "}) + odd, STOP]))
    assert (outcome.reasoning, outcome.text) == ("", "before ")


async def test_a_refusal_is_text(ask: Ask) -> None:
    assert (await ask(Script(raw=[chunk({"refusal": "I can't"}), STOP]))).text == "I can't"


@pytest.mark.parametrize(
    "nonsense",
    [
        b'data: {"choices": "none"}\n\n',
        b'data: {"choices": [7]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b'data: {"choices": [{"delta": {"content": 7, "tool_calls": "x"}}]}\n\n',
        b'data: {"choices": [{"index": 1, "delta": {"content": "second choice"}}]}\n\n',
        b'data: {"type": "ping"}\n\n',
        b"data:\n\n",
        b"event: ping\nid: 7\nretry: 10\nunknown\n\n",
        b": a comment\n\n",
    ],
)
async def test_what_says_nothing_is_passed_over(ask: Ask, nonsense: bytes) -> None:
    outcome = await ask(Script(raw=[chunk({"content": "a"}), nonsense, chunk({"content": "b"}), STOP]))
    assert (outcome.text, outcome.finish) == ("ab", "stop")


async def test_nothing_is_read_after_done(ask: Ask) -> None:
    assert (await ask(Script(raw=[chunk({"content": "a"}) + STOP + chunk({"content": "b"})]))).text == "a"


async def test_an_end_without_its_empty_line_is_understood(ask: Ask) -> None:
    finish = chunk({"content": "a"}, finish_reason="length").rstrip()
    assert (await ask(Script(raw=[finish]))).finish == "length"
    assert (await ask(Script(raw=[finish + b"\n\ndata: [DONE]"]))).finish == "length"


async def test_a_line_of_a_megabyte_is_read(ask: Ask) -> None:
    assert len((await ask(Script(chunks=["x" * 1_000_000]))).text) == 1_000_000


async def test_an_answer_in_one_piece_is_understood(ask: Ask) -> None:
    message = {"content": "Whole", "reasoning_content": "Hm"}
    body = {
        "choices": [{"message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    outcome = await ask(Script(body=body))
    assert (outcome.text, outcome.reasoning, outcome.finish) == ("Whole", "Hm", "length")
    assert outcome.usage.input_tokens == 5


async def test_the_request_carries_what_was_asked_and_settings_cannot_change_that(
    ask: Ask, fake_provider: FakeProvider
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    messages = [
        ChatMessage("system", "Be brief"),
        ChatMessage("user", "hello\x00\ud800"),
        ChatMessage("assistant", "", tool_calls=[call]),
        ChatMessage("tool", "done", tool_call_id="c1"),
    ]
    settings = {"temperature": 0.3, "model": "another", "stream": False, "messages": []}
    await ask(None, ChatRequest(messages, settings, max_output_tokens=9, tools=[tool]))
    assert fake_provider.requests[0].body == {
        "model": "model-under-test",
        "messages": [
            {"role": "system", "content": f"Be brief\n\n{ABOUT_TOOLS}"},
            {"role": "user", "content": "hello\ufffd\ufffd"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "done", "tool_call_id": "c1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.3,
        "max_tokens": 9,
        "tools": [tool],
    }


async def test_a_model_that_is_not_to_call_any_more_is_told_so(ask: Ask, fake_provider: FakeProvider) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    await ask(None, ChatRequest([ChatMessage("user", "hi")], tools=[tool], is_without_calls=True))
    assert fake_provider.requests[0].body["tools"] == [tool]
    assert fake_provider.requests[0].body["tool_choice"] == "none"


async def test_a_limit_in_the_settings_stands_alone(ask: Ask, fake_provider: FakeProvider) -> None:
    request = ChatRequest([ChatMessage("user", "hi")], {"max_completion_tokens": 5}, max_output_tokens=9)
    await ask(None, request)
    assert "max_tokens" not in fake_provider.requests[0].body
