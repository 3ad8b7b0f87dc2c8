"""Wherever a network cuts the bytes, the same events come out, and memory stays bounded."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chats.llm.openai_answer import Answer
from chats.llm.sse import SseDecoder
from chats.llm.values import StreamEvent, Target, TextDelta

TARGET = Target("openai", "http://localhost/v1", "", "m")


def line(delta: dict, ending: str = "\n\n", **rest: object) -> str:
    return "data: " + json.dumps({"choices": [{"delta": delta}], **rest}, ensure_ascii=False) + ending


STREAM = "".join(
    [
        "\ufeff: hello\n\n",
        line({"role": "assistant", "content": ""}),
        line({"reasoning": "Hm … 🤔"}),
        line({"content": "Grüße"}, "\r\n\r\n"),
        "event: x\r\nid: 1\r\n" + line({"content": " 😀\\"}, "\r\r").replace("data: ", "data:"),
        'data: {"choices":\ndata:  [{"delta": {"content": " over lines"}}]}\r\ndata:\r\n\r\n',
        ": ping\n\n\n\n",
        'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n',
        'data: {"choices": [{"delta": {"content": "\\ude00\\u0000"}}]}\n\n',
        line({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"ä": 1}'}}]}),
        '{"choices": [{"delta": {"content": "!"}, "finish_reason": "stop"}]}\n',
        line({}, usage={"prompt_tokens": 3, "completion_tokens": 9}),
        "data: [DONE]\n\n",
        line({"content": "never seen"}),
    ]
).encode()


def events_of(pieces: Sequence[bytes], *, line_max_bytes: int = 10_000) -> list[StreamEvent]:
    decoder, answer = SseDecoder(line_max_bytes), Answer(TARGET)
    events = [event for piece in pieces for event in answer.take(decoder.feed(piece))]
    events += answer.take_rest(decoder.end())
    return merged(events + answer.end())


def merged(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """`events` with neighbouring texts joined: how they are cut is up to the network."""
    result: list[StreamEvent] = []
    for kind, group in itertools.groupby(events, type):
        same: list[Any] = list(group)
        is_text = hasattr(same[0], "text")
        result += [kind("".join(event.text for event in same))] if is_text else same
    return result


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


WHOLE = events_of([STREAM])


def test_the_whole_stream_is_understood() -> None:
    texts = [event.text for event in WHOLE if isinstance(event, TextDelta)]
    assert texts == ["Grüße 😀\\ over lines😀\ufffd", "!"]
    assert [type(event).__name__ for event in WHOLE] == [
        *("ReasoningDelta", "TextDelta", "ToolCallDelta", "TextDelta", "UsageReported", "Finished")
    ]


@settings(max_examples=150)
@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
@example(range(len(STREAM)))
def test_any_split_gives_the_same_events(cuts: Sequence[int]) -> None:
    assert events_of(split(STREAM, cuts)) == WHOLE


@settings(max_examples=150)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_in_any_split_end_the_same(data: bytes, cuts: list[int]) -> None:
    data = STREAM[:400] + data
    assert events_of(split(data, cuts)) == events_of([data])


@given(st.lists(st.integers(0, 3_000), max_size=8))
def test_a_line_too_long_ends_the_same_in_any_split(cuts: list[int]) -> None:
    data = line({"content": "a"}).encode() + b"data: " + b"x" * 2_500 + b"\n\n" + line({"content": "b"}).encode()
    assert events_of(split(data, cuts), line_max_bytes=2_000) == [TextDelta("a")]


@pytest.mark.parametrize("piece", [b"x" * 100, b": " + b"x" * 98, b"data: " + b"x" * 93 + b"\n"])
def test_memory_is_bounded(piece: bytes) -> None:
    decoder = SseDecoder(1_000)
    for _ in range(15):
        decoder.feed(piece)
    assert decoder.is_overlong


def test_comments_without_end_cost_nothing() -> None:
    decoder = SseDecoder(1_000)
    for _ in range(1_000):
        assert decoder.feed(b": ping\n\n") == []
    assert not decoder.is_overlong
