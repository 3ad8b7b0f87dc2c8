"""Whatever a provider sends, in whatever pieces and at whatever pace: a clear end in bounded time, and a text that is
byte for byte what can be stored. The same on every database.
"""

import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Message, Reply
from chats.replies.present import message_json_of

# What the reply may take: the silence allowed, the retries' pauses, and the machine's own time.
BOUND_SECONDS = 8
SILENCE_SECONDS = 0.5
SOON = {"Retry-After": "0"}
UTF8 = "Grüße, 日本語, 😀 und עברית"


def line(delta: Mapping[str, Any], **choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta, **choice}]}).encode() + b"\n\n"


def raw_line(content: bytes) -> bytes:
    return b'data: {"choices": [{"delta": {"content": "' + content + b'"}}]}\n\n'


STOP = line({}, finish_reason="stop") + b"data: [DONE]\n\n"
HALF_CALL = line(
    {"tool_calls": [{"index": 0, "id": "call_\x00", "function": {"name": "f", "arguments": '{"city": "Par'}}]}
)
EMPTY = line({"content": ""})


@dataclass(frozen=True)
class Case:
    script: Script
    status: str
    code: str = ""
    text: str = ""
    requests: int = 1
    is_cut: bool = False  # by us, with the provider still sending or waiting


CASES = {
    # ---------------------------------------------------------------- silence in all its forms
    "hangs before its headers": Case(Script(hang=True), "failed", "provider_timeout", is_cut=True),
    "drips headers for ever": Case(Script(drip_head=True), "failed", "provider_timeout", is_cut=True),
    "drips comments for ever": Case(Script(comments_only=True), "failed", "provider_timeout", is_cut=True),
    "drips comments after its first words": Case(
        Script(text="one two three", flood_after=2), "interrupted", "provider_timeout", "one two", is_cut=True
    ),
    "drips empty pieces after its first words": Case(
        Script(text="one two three", flood_after=2, flood=EMPTY),
        "interrupted",
        "provider_timeout",
        "one two",
        is_cut=True,
    ),
    "floods comments after its first words": Case(
        Script(text="one two three", flood_after=2, flood=b":" + b" " * 1_000_000 + b"\n"),
        *("interrupted", "provider_timeout", "one two"),
        is_cut=True,
    ),
    "ten thousand empty pieces, then an answer": Case(
        Script(raw=[b"".join([EMPTY] * 100)] * 100 + [line({"content": "At last"}), STOP]),
        *("completed", "", "At last"),
    ),
    "ten thousand empty pieces, and no more": Case(
        Script(raw=[b"".join([EMPTY] * 100)] * 100 + [b""], stall_after=101),
        *("failed", "provider_timeout"),
        is_cut=True,
    ),
    "never ends its body after [DONE]": Case(
        Script(text="one two", flood_after_done=True), "completed", "", "one two", is_cut=True
    ),
    "floods after [DONE]": Case(
        Script(text="one two", flood_after_done=True, flood=raw_line(b"never") * 5_000),
        *("completed", "", "one two"),
        is_cut=True,
    ),
    # ---------------------------------------------------------------- ends without a finish reason
    "cut in the middle of a line": Case(
        Script(raw=[line({"content": "one two"}), b'data: {"choices": [{"delta": {"cont', b""], drop_after=2),
        *("incomplete", "stream_cut", "one two"),
    ),
    "its body ends in the middle of a line": Case(
        Script(raw=[line({"content": "one two"}), b'data: {"choices": [{"delta": {"cont']),
        *("incomplete", "stream_cut", "one two"),
    ),
    "[DONE] without a finish reason": Case(
        Script(text="one two", finish_reason=None), "incomplete", "stream_cut", "one two"
    ),
    "only [DONE]": Case(Script(raw=[b"data: [DONE]\n\n"]), "incomplete", "stream_cut"),
    "its body ends without a finish reason": Case(
        Script(text="one two", finish_reason=None, has_done=False), "incomplete", "stream_cut", "one two"
    ),
    "a tool call half done": Case(
        Script(raw=[line({"content": "Let me see"}), HALF_CALL]), "incomplete", "stream_cut", "Let me see"
    ),
    "a tool call half done, then [DONE]": Case(
        Script(raw=[HALF_CALL, b"data: [DONE]\n\n"]), "incomplete", "stream_cut"
    ),
    "thoughts and no answer": Case(
        Script(text="", reasoning=["Hm"], finish_reason=None, has_done=False), "incomplete", "stream_cut"
    ),
    "an answer in one piece without a finish reason": Case(
        Script(body={"choices": [{"message": {"content": "one two"}}]}), "incomplete", "stream_cut", "one two"
    ),
    # ---------------------------------------------------------------- characters
    "NUL bytes": Case(Script(chunks=["a\x00b", "\x00"]), "completed", "", "a\ufffdb\ufffd"),
    "bare NUL bytes in a line": Case(
        Script(raw=[line({"content": "one"}), b"\x00\x00\n\n", STOP]), "completed", "", "one"
    ),
    "halves of surrogate pairs": Case(
        Script(chunks=["\ud83d", "\ude00 and \ude00", " \ud83d"]), "completed", "", "😀 and \ufffd \ufffd"
    ),
    "half a pair at a cut": Case(
        Script(chunks=["one\ud83d", "x"], drop_after=1), "incomplete", "stream_cut", "one\ufffd"
    ),
    "characters split over writes": Case(
        Script(raw=[raw_line(UTF8.encode()), STOP], write_bytes=1), "completed", "", UTF8
    ),
    "bytes that are no UTF-8": Case(Script(raw=[raw_line(b"a\xffb"), STOP]), "completed", "", "a\ufffdb"),
    "lines of a megabyte": Case(Script(chunks=["x" * 300_000] * 3), "completed", "", "x" * 900_000),
    "a line without an end": Case(
        Script(text="one two", flood_after=1, flood=b"x" * 1_000_000), "failed", "provider_nonsense", "one", is_cut=True
    ),
    # ---------------------------------------------------------------- HTTP as it should not be
    "gzip although plain was asked for": Case(Script(text="one two", gzip=True), "failed", "provider_nonsense"),
    "a swelling gzip": Case(
        Script(body=gzip.compress(b" " * 20_000_000), headers={"Content-Encoding": "gzip"}),
        *("failed", "provider_nonsense"),
    ),
    "a failure in gzip": Case(
        Script(status=500, body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip", **SOON}),
        *("failed", "provider_broken"),
        requests=3,
    ),
    "an event stream called plain text": Case(
        Script(text="one two", headers={"Content-Type": "text/plain"}), "completed", "", "one two"
    ),
    "an event stream called bytes": Case(
        Script(text="one two", headers={"Content-Type": "application/octet-stream"}), "completed", "", "one two"
    ),
    "an event stream called JSON": Case(
        Script(text="one two", headers={"Content-Type": "application/json"}), "failed", "provider_nonsense"
    ),
    "an endless stream called JSON": Case(
        Script(text="one", flood_after=1, headers={"Content-Type": "application/json"}),
        *("failed", "provider_timeout"),
        is_cut=True,
    ),
    "an event stream called a page": Case(
        Script(text="one two", headers={"Content-Type": "text/html"}), "failed", "provider_nonsense"
    ),
    "a picture": Case(
        Script(body=b"\x89PNG\r\n\x1a\n" * 100, headers={"Content-Type": "image/png"}), "failed", "provider_nonsense"
    ),
    "a redirect": Case(
        Script(status=307, body=b"", headers={"Location": "http://elsewhere.example/"}), "failed", "provider_rejected"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_hostile_provider_ends_in_bounded_time_with_the_text_so_far(
    say, ended, fake_provider: FakeProvider, settings, case: Case
) -> None:
    settings.PROVIDER_FIRST_TOKEN_SECONDS = settings.PROVIDER_SILENCE_SECONDS = SILENCE_SECONDS
    fake_provider.script("fake-1", case.script)

    began = time.monotonic()
    reply = ended(say("Do not lose this"))

    assert (reply.status, reply.error_code, reply.message.content) == (case.status, case.code, case.text)
    assert bool(reply.error_message) is (case.status != "completed")
    assert time.monotonic() - began < BOUND_SECONDS
    assert len(fake_provider.requests) == case.requests
    assert fake_provider.wait_idle(), "no connection is left with an answer under way"
    assert fake_provider.closed >= case.is_cut
    # What was shown, what is stored, and what is sent out as JSON are the same, and any database takes it.
    shown = message_json_of(Message.objects.get(pk=reply.message.pk))
    assert shown["content"].encode() == case.text.encode()
    assert "\\u0000" not in json.dumps(shown)


def test_half_a_tool_call_does_not_spoil_what_is_said_next(say, ended, fake_provider: FakeProvider) -> None:
    fake_provider.script("fake-1", Script(raw=[line({"content": "Let me see"}), HALF_CALL]))
    first = say("What is the weather?")
    assert ended(first).message.tool_calls
    fake_provider.script("fake-1", Script())
    assert ended(say("And now?", chat_id=first.chat.pk)).status == Reply.Status.COMPLETED
    sent = fake_provider.requests[-1].body["messages"]
    # A call without its result would make every strict provider refuse the chat from here on.
    assert [(m["role"], m["content"], "tool_calls" in m) for m in sent] == [
        ("user", "What is the weather?", False),
        ("assistant", "Let me see", False),
        ("user", "And now?", False),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_the_size_of_writes_changes_nothing(say, ended, fake_provider: FakeProvider, size: int) -> None:
    fake_provider.script(
        "fake-1",
        Script(
            raw=[raw_line(UTF8.encode()), line({"content": "\ud83d"}), line({"content": "\ude00"}), STOP],
            write_bytes=size,
        ),
    )
    assert ended(say()).message.content == UTF8 + "😀"
