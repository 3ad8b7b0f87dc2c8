"""The demo says what it is, shows every ending of a reply, and is the same every time."""

import asyncio
import time
from typing import Any

import pytest

from chats.llm.demo import answer_to, command_in, tokens_of
from chats.llm.errors import ProviderBroken, ProviderTimeout
from chats.llm.registry import list_models
from chats.llm.tests.conftest import Outcome, outcome_of
from chats.llm.values import GO_ON, ChatMessage, ChatRequest, Limits, Target, TextDelta

DEMO = Target("demo", "", "", "parley-demo")


async def say(
    text: str, *, limits: Limits | None = None, max_output_tokens: int | None = None, **settings: float
) -> Outcome:
    settings = {"tokens_per_second": 0, "slow_seconds": 0, **settings}
    request = ChatRequest([ChatMessage("user", text)], settings, max_output_tokens)
    return await outcome_of(DEMO, request, limits)


@pytest.mark.parametrize(
    "said", ["Hello!", "who are you?", "help", "What is the meaning of life?", "What is Parley?", "", "\x00\ud800"]
)
async def test_it_is_honest_that_it_is_a_demo(said: str) -> None:
    outcome = await say(said)
    assert "demo" in outcome.text
    assert "script" in outcome.text
    assert outcome.finish == "stop"
    outcome.text.encode()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("How do I add a model?", "Test connection"),
        ("Where does the admin set prices", "base URL"),
        ("show me the API", "curl"),
        ("What is Parley?", "your team runs itself"),
        ("Hi", "welcome to Parley"),
        ("thanks a lot", "You are welcome"),
        ("quote: To be, {or} not\nto be", "> To be, {or} not\n> to be"),
        ("please repeat after me", "> after me"),
        ("What weighs {more}?", "> What weighs {more}?"),
        ("x" * 5_000, "> " + "x" * 599 + "…"),
    ],
)
async def test_it_answers_what_it_knows_and_quotes_what_it_does_not(said: str, found: str) -> None:
    assert found in (await say(said)).text


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("long answer", "long answer"),
        ("Please give me a long answer!", "long answer"),
        ("MARKDOWN", "markdown"),
        ("show me some markdown, please", "markdown"),
        ("failure", "failure"),
        ("slow", "slow"),
        ("help", "help"),
        ("why is the markdown so slow", ""),
        ("a failure of mine", ""),
        ("", ""),
    ],
)
def test_commands_are_known_politeness_aside(said: str, command: str) -> None:
    assert command_in(said) == command


async def test_the_long_answer_is_long() -> None:
    assert 400 <= len((await say("long answer")).text.split()) <= 1_000


async def test_the_markdown_showcase_has_something_of_everything() -> None:
    text = (await say("markdown")).text
    for mark in (
        "# ",
        "## ",
        "1. ",
        "   - ",
        "|:---",
        "```python",
        "```sql",
        "```javascript",
        "> ",
        "](https://",
        "```latex",
    ):
        assert mark in text


async def test_a_failure_breaks_off_in_mid_answer() -> None:
    outcome = await say("failure")
    assert type(outcome.error) is ProviderBroken
    assert answer_to("failure").startswith(outcome.text)
    assert 0 < len(outcome.text) < len(answer_to("failure"))
    assert outcome.usage.output_tokens == len(outcome.events) - 1
    assert outcome.finish is None


async def go_on(text: str, written: str) -> Outcome:
    said = [ChatMessage("user", text), ChatMessage("assistant", written), ChatMessage("user", GO_ON)]
    return await outcome_of(DEMO, ChatRequest(said, {"tokens_per_second": 0, "slow_seconds": 60}), None)


@pytest.mark.parametrize("text", ["long answer", "quote Grüße 🎈 an alle", "slow", "What is this?"])
@pytest.mark.parametrize("place", [1, 30, -5, -1])
async def test_an_answer_goes_on_to_the_letter(text: str, place: int) -> None:
    whole = (await say(text)).text
    rest = await go_on(text, whole[:place])
    assert (whole[:place] + rest.text, rest.finish) == (whole, "stop")


async def test_a_whole_answer_has_no_rest() -> None:
    rest = await go_on("markdown", (await say("markdown")).text)
    assert (rest.text, rest.finish) == ("", "stop")


async def test_a_failure_that_goes_on_breaks_off_at_the_same_place() -> None:
    part = (await say("failure")).text
    rest = await go_on("failure", part[:10])
    assert part[:10] + rest.text == part
    assert isinstance(rest.error, ProviderBroken)


async def test_it_does_not_go_on_from_words_that_are_not_its_own() -> None:
    rest = await go_on("What is a tide?", "A tide is the rise and fa")
    assert "is not from it" in rest.text
    assert rest.finish == "stop"


async def test_the_same_words_give_the_same_answer() -> None:
    assert await say("Hello") == await say("Hello")


async def test_usage_counts_the_tokens_said_and_sent() -> None:
    outcome = await say("Hello there")
    assert outcome.usage.input_tokens == 2
    assert outcome.usage.output_tokens == sum(isinstance(event, TextDelta) for event in outcome.events)


async def test_a_limit_of_tokens_is_kept() -> None:
    outcome = await say("Hello", max_output_tokens=5)
    assert (len(tokens_of(outcome.text)), outcome.finish, outcome.usage.output_tokens) == (5, "length", 5)


async def test_it_writes_at_the_speed_asked_for() -> None:
    started = time.monotonic()
    await say("Hello", max_output_tokens=11, tokens_per_second=100)
    assert 0.1 <= time.monotonic() - started < 10


@pytest.mark.parametrize("speed", [-1, True, "fast", None])
async def test_a_speed_that_is_none_is_the_usual_one(speed: Any) -> None:
    started = time.monotonic()
    await say("Hello", max_output_tokens=3, tokens_per_second=speed)
    assert 0.04 <= time.monotonic() - started < 10


async def test_slow_waits_and_then_answers() -> None:
    started = time.monotonic()
    assert (await say("slow", slow_seconds=0.05)).finish == "stop"
    assert time.monotonic() - started >= 0.05


async def test_too_slow_is_a_timeout() -> None:
    outcome = await say("slow", slow_seconds=60, limits=Limits(first_token_seconds=0.01))
    assert type(outcome.error) is ProviderTimeout


async def test_it_stops_when_told_to() -> None:
    task = asyncio.create_task(say("slow", slow_seconds=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": f"Does {name}", "parameters": {}}}


TOOLS = [tool("parley__calculator"), tool("parley__current_time"), tool("tickets__create")]


async def say_with_tools(*messages: ChatMessage) -> Outcome:
    return await outcome_of(DEMO, ChatRequest(messages, {"tokens_per_second": 0}, tools=TOOLS), None)


@pytest.mark.parametrize(
    ("said", "name", "arguments"),
    [
        ('call tickets__create {"title": "x"}', "tickets__create", '{"title": "x"}'),
        ("Please call create", "tickets__create", "{}"),
        ("what time is it?", "parley__current_time", "{}"),
        ("6 * 7 =", "parley__calculator", '{"expression": "6 * 7"}'),
        ("What is 2^10?", "parley__calculator", '{"expression": "2^10"}'),
    ],
)
async def test_it_calls_the_tool_it_is_told_to(said: str, name: str, arguments: str) -> None:
    outcome = await say_with_tools(ChatMessage("user", said))
    assert outcome.finish == "tool_calls"
    assert outcome.tool_calls == [("", name, arguments)]


@pytest.mark.parametrize("said", ["call nothing", "call create now", "Call me Ishmael", "2026-11-29x", "x" * 90_000])
async def test_what_is_no_call_is_answered(said: str) -> None:
    assert (await say_with_tools(ChatMessage("user", said))).finish == "stop"


@pytest.mark.parametrize("said", ["call x" + " " * 99_000 + "y", "what " * 20_000, "call create {" + "{" * 90_000])
async def test_no_words_keep_it_busy(said: str) -> None:
    began = time.thread_time()
    await say_with_tools(ChatMessage("user", said))
    assert time.thread_time() - began < 1


async def test_it_passes_on_what_a_tool_has_answered() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "tickets__create", "arguments": "{}"}}
    outcome = await say_with_tools(
        ChatMessage("user", "call create"),
        ChatMessage("assistant", "", tool_calls=[call]),
        ChatMessage("tool", "Ticket {7} is there.", tool_call_id="c"),
    )
    assert (outcome.finish, "> Ticket {7} is there." in outcome.text) == ("stop", True)


async def test_it_lists_its_tools() -> None:
    assert "`tickets__create`" in (await say_with_tools(ChatMessage("user", "list the tools"))).text
    assert "no tools" in (await say("tools")).text


async def test_without_a_question_there_is_an_answer() -> None:
    outcome = await outcome_of(DEMO, ChatRequest([], {"tokens_per_second": 0}))
    assert (outcome.finish, outcome.usage.input_tokens) == ("stop", 1)


async def test_its_only_model_is_listed() -> None:
    assert await list_models(DEMO, Limits()) == ["parley-demo"]
