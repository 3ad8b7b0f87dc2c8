"""A provider without a network or a key, so that everything can be tried at once. It answers from a script and says so.

Deterministic: the same conversation gives the same answer, the same tokens and the same usage. An answer of its own
that broke off it continues to the letter; of one by somebody else it says that it can't.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

from chats.llm import demo_extract, demo_texts, demo_tools
from chats.llm.cleaning import clean
from chats.llm.errors import ProviderBroken, ProviderRejected, ProviderTimeout
from chats.llm.passages import messages_of
from chats.llm.values import (
    GO_ON,
    ChatMessage,
    ChatRequest,
    Embedded,
    Finished,
    Limits,
    StreamEvent,
    Target,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)

MODEL_IDS = ["parley-demo"]
TOKENS_PER_SECOND = 50.0  # about twice as fast as people read
SLOW_SECONDS = 12.0
QUOTE_MAX_LENGTH = 600

_TOKENS = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
_WORDS = re.compile(r"[^\W_]+")
_QUOTE = re.compile(r"\s*(?:please\s+)?(?:quote|repeat|say|echo)\b[\s:,]*(?P<text>\S.*)", re.DOTALL | re.IGNORECASE)
_FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "please",
        "show",
        "give",
        "me",
        "us",
        "some",
        "try",
        "do",
        "demo",
        "now",
        "again",
        "with",
        "send",
        "i",
        "want",
    ]
)
_COMMANDS = {
    "long answer": demo_texts.LONG,
    "markdown": demo_texts.MARKDOWN,
    "failure": demo_texts.FAILURE,
    "slow": demo_texts.SLOW,
    "help": demo_texts.HELP,
}
# What a message without a command is about, by the words in it; the first row that shares a word gives the answer.
_TOPICS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"api", "curl", "websocket"}), demo_texts.API),
    (frozenset({"admin", "staff", "add", "provider", "providers", "price", "prices"}), demo_texts.STAFF),
    (frozenset({"parley", "who", "yourself"}), demo_texts.PARLEY),
    (frozenset({"model", "models", "openai", "ollama", "vllm"}), demo_texts.STAFF),
    (
        frozenset(
            ["hello", "hi", "hey", "hallo", "hola", "bonjour", "salut", "ciao", "greetings", "morning", "evening"]
        ),
        demo_texts.GREETING,
    ),
    (frozenset({"you", "demo", "help"}), demo_texts.PARLEY),
    (frozenset({"thanks", "thank", "merci", "danke", "gracias"}), demo_texts.THANKS),
)


async def open_stream(_target: Target, request: ChatRequest, limits: Limits) -> AsyncGenerator[StreamEvent, None]:
    """The scripted answer, a token at a time. The settings tokens_per_second (0: at once) and slow_seconds steer it."""
    said, written = _question_of(request.messages)
    passed_on = demo_tools.answer_with(request.messages) or demo_tools.list_of(said, request)
    calls = [] if passed_on or request.is_without_calls else demo_tools.calls_in(said, request)
    passed_on = passed_on or ("" if calls else demo_tools.unknown_in(said, request))
    if calls:
        for call in calls:
            yield call
        yield UsageReported(Usage(input_tokens=_input_tokens(request), output_tokens=_output_tokens(calls)))
        yield Finished("tool_calls")
        return
    command = command_in(said) if request.passages is None and not passed_on else ""
    if command == "slow" and not written:
        await _keep_waiting(_number(request, "slow_seconds", SLOW_SECONDS), limits)
    answer = passed_on or (
        answer_to(said) if request.passages is None else demo_extract.answer_from(said, request.passages)
    )
    if command == "failure":
        answer = answer[: len(answer) // 2]
    tokens = tokens_of(_rest(answer, written))
    shown = tokens[: request.max_output_tokens]
    pace = _number(request, "tokens_per_second", TOKENS_PER_SECOND)
    started, now = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    sent = 0
    while sent < len(shown):
        await asyncio.sleep(
            max(0.0, started + sent / pace - now(), limits.window_seconds if sent else 0) if pace else 0
        )
        due = max(sent + 1, int((now() - started) * pace) + 1 if pace else 0)
        yield TextDelta("".join(shown[sent:due]))
        sent = due
    yield UsageReported(Usage(input_tokens=_input_tokens(request), output_tokens=len(shown)))
    if command == "failure":
        raise ProviderBroken("This is the failure you asked for: the demo broke off, as it does each time.")
    yield Finished("stop" if len(shown) == len(tokens) else "length")


async def list_models(_target: Target, _limits: Limits) -> list[str]:
    return list(MODEL_IDS)


async def embed(_target: Target, _texts: Sequence[str], _settings: Mapping[str, Any], _limits: Limits) -> Embedded:
    raise ProviderRejected("The demo makes no embeddings. Staff must choose a model of another provider.")


def command_in(said: str) -> str:
    """The command that `said` is, politeness aside: «Please show me the markdown!» is "markdown". Else ""."""
    asked = " ".join(word for word in _words(said) if word not in _FILLERS)
    return asked if asked in _COMMANDS else ""


def answer_to(said: str) -> str:
    """The whole answer, as Markdown."""
    if command := command_in(said):
        return _COMMANDS[command]
    if quote := _QUOTE.fullmatch(said):
        return demo_texts.QUOTE.format(quote=_quoted(quote["text"]))
    words = frozenset(_words(said))
    # A long message is about something of its own: a chance word must not decide the answer.
    topics = (text for keys, text in _TOPICS if words & keys and len(words) <= 12)
    return next(topics, demo_texts.UNKNOWN.format(quote=_quoted(said)))


def tokens_of(text: str) -> list[str]:
    """`text` in pieces of about the size of a model's tokens; together they are `text` again."""
    return _TOKENS.findall(text)


def _words(text: str) -> Iterator[str]:
    return (word.lower() for word in _WORDS.findall(text))


def _quoted(text: str) -> str:
    """`text`, cut, as a Markdown quote."""
    text = clean(text.strip()) or "(nothing)"
    cut = text if len(text) <= QUOTE_MAX_LENGTH else text[: QUOTE_MAX_LENGTH - 1] + "…"
    return "\n".join(f"> {line}".rstrip() for line in cut.splitlines())


def _question_of(messages: Sequence[ChatMessage]) -> tuple[str, str]:
    """What is to be answered, and how much of the answer there is: "" unless one that broke off is to be continued."""
    match messages:
        case [*earlier, ChatMessage(role="assistant", content=written), ChatMessage(role="user", content=said)]:
            if said == GO_ON:
                return _last_words(earlier), written
    return _last_words(messages), ""


def _last_words(messages: Sequence[ChatMessage]) -> str:
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _rest(answer: str, written: str) -> str:
    if written.startswith(answer):
        return ""
    return answer.removeprefix(written) if answer.startswith(written) else demo_texts.NOT_MINE


def _input_tokens(request: ChatRequest) -> int:
    return max(1, sum(len(tokens_of(message.content)) for message in messages_of(request)))


def _output_tokens(calls: Sequence[ToolCallDelta]) -> int:
    return sum(len(tokens_of(call.name + call.arguments)) for call in calls)


def _number(request: ChatRequest, name: str, default: float) -> float:
    value = request.settings.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1_000_000:
        return float(value)
    return default


async def _keep_waiting(seconds: float, limits: Limits) -> None:
    await asyncio.sleep(min(seconds, limits.first_token_seconds))
    if seconds > limits.first_token_seconds:
        limit = f"{limits.first_token_seconds:g} seconds"
        raise ProviderTimeout(f"The demo sent no text within {limit}, as you asked it to. Try again.")
