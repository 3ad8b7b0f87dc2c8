"""The demo with tools: it calls the one it is told to, so that servers and approvals can be tried without a model."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chats.llm import demo_texts
from chats.llm.values import ChatMessage, ChatRequest, ToolCallDelta

RESULT_MAX_LENGTH = 2_000
QUESTION_MAX_LENGTH = 300
LINE_MAX_LENGTH = 120
# What a result says to models only.
_FOR_MODELS = re.compile(r"\APut the number of each passage .*?\n\n", re.DOTALL)
# «call tickets__create {"title": "x"}», or only the end of the name: «call create».
_CALL = re.compile(r"(?:please\s+)?(?:call|use|run)\s+`?(?P<name>[A-Za-z0-9_-]{1,64})`?(?!\w)", re.IGNORECASE)
# With its arguments, or by a name as only tools have them: surely meant as one.
_NAMED = re.compile(
    r"(?:call|use|run)\s+`?(?P<name>[A-Za-z0-9_-]{1,64})`?\s*(?P<given>\{.*\})?", re.IGNORECASE | re.DOTALL
)
_TIME = re.compile(r"\bwhat(?:'s| is)?\s+(?:the\s+)?(?:time|date|day)\b", re.IGNORECASE)
_SUM = re.compile(r"(?:(?:calculate|compute|what is|what's)\s+)?(?P<sum>[\d.()+*/%^ -]{3,200})", re.IGNORECASE)
_LIST = re.compile(r"\s*(?:(?:list|show|what are)\s+)?(?:me\s+)?(?:the\s+|your\s+|my\s+)?tools\W*", re.IGNORECASE)


def calls_in(said: str, request: ChatRequest) -> list[ToolCallDelta]:
    """The call that `said` asks for, if it is of a tool that was offered."""
    names = [str(tool["function"]["name"]) for tool in request.tools]
    said = said.strip()
    if found := _CALL.match(said):
        given = said[found.end() :].strip() or "{}"
        name = _named(found["name"], names)
        return [_call(name, given)] if name and given.startswith("{") else []
    if len(said) > QUESTION_MAX_LENGTH:
        return []
    if (clock := _named("current_time", names)) and _TIME.search(said):
        return [_call(clock, "{}")]
    asked = _SUM.fullmatch(said.rstrip("=? "))
    if (calculator := _named("calculator", names)) and asked and re.search(r"\d\s*[-+*/%^]", asked["sum"]):
        return [_call(calculator, json.dumps({"expression": asked["sum"].strip()}))]
    return []


def unknown_in(said: str, request: ChatRequest) -> str:
    """What to say where a tool is named that was not offered; else ""."""
    found = _NAMED.fullmatch(said.strip())
    if found is None or not (found["given"] or "_" in found["name"]):
        return ""
    names = [str(tool["function"]["name"]) for tool in request.tools]
    return "" if _named(found["name"], names) else demo_texts.UNKNOWN_TOOL.format(name=found["name"])


def answer_with(messages: Sequence[ChatMessage]) -> str:
    """What it says once the calls of its last step have results; "" when there are none below the last question."""
    results: list[str] = []
    for message in reversed(messages):
        if message.role != "tool":
            break
        results.insert(0, message.content)
    if not results:
        return ""
    return demo_texts.TOOL_RESULTS.format(results="\n\n".join(_quoted(text) for text in results))


def list_of(said: str, request: ChatRequest) -> str:
    """The tools that were offered, if that is what is asked for; else ""."""
    if len(said) > QUESTION_MAX_LENGTH or not _LIST.fullmatch(said):
        return ""
    lines = [f"- `{tool['function']['name']}`: {_first_line(tool['function'])}" for tool in request.tools]
    return demo_texts.TOOLS.format(tools="\n".join(lines)) if lines else demo_texts.NO_TOOLS


def _named(asked: str, names: Sequence[str]) -> str | None:
    """The name of a tool that `asked` means: the whole of it, or what follows its server's prefix."""
    return next((name for name in names if asked in {name, name.partition("__")[2]}), None)


def _call(name: str, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(0, id="", name=name, arguments=arguments)


def _first_line(function: Mapping[str, Any]) -> str:
    line = str(function.get("description", "")).strip().partition("\n")[0]
    return line if len(line) <= LINE_MAX_LENGTH else line[:LINE_MAX_LENGTH].rpartition(" ")[0] + " …"


def _quoted(text: str) -> str:
    text = _FOR_MODELS.sub("", text)
    shown = text if len(text) <= RESULT_MAX_LENGTH else text[: RESULT_MAX_LENGTH - 1] + "…"
    return "\n".join(f"> {line}".rstrip() for line in shown.splitlines()) or "> (nothing)"
