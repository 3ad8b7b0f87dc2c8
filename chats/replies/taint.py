"""Whether a model has read words of others: then what it asks for may be theirs. Pure.

Content is data, but a model can't be made to keep the two apart. So once text of a document, a web page or a tool is in
what it reads, whatever changes something asks its person again.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from chats.models import Message

EARLIER = "text from documents or tools was read earlier in this chat, and may have asked for it"
DONE_BEFORE = "an earlier answer to the same message has had something changed already"
NAMES_MAX = 2
NAME_MAX_CHARACTERS = 60


def taint_of(messages: Iterable[Message]) -> str:
    """What words of others there are among these messages, for people; "" when there are none."""
    documents: dict[str, None] = {}
    tools: dict[str, None] = {}
    asked: dict[str, str] = {}  # calls whose results have not come yet: names by id
    for message in messages:
        documents.update(dict.fromkeys(names_of(message.sources)))
        if message.role == Message.Role.TOOL:
            tools.update(dict.fromkeys(_tools_of(message)))
            for result in _results_of(message):
                asked.pop(str(result.get("tool_call_id")), None)
            continue
        # Results that were deleted may have been said again in what stands below.
        tools.update(dict.fromkeys(asked.values()))
        asked = dict(_calls_of(message))
    return taint_by(documents=documents, tools=tools)


def taint_by(*, documents: Iterable[str] = (), tools: Iterable[str] = ()) -> str:
    """As `taint_of`, from names."""
    said = [_listed("the document", documents), _listed("the tool", tools)]
    named = " and ".join(part for part in said if part)
    return f"text from {named} was read before, and may have asked for it" if named else ""


def names_of(sources: Any) -> list[str]:
    """The documents that passages are from."""
    if not isinstance(sources, list):
        return []
    return [str(source.get("name") or "a document") for source in sources if isinstance(source, dict)]


def _calls_of(message: Message) -> Iterator[tuple[str, str]]:
    for call in message.tool_calls:
        if isinstance(call, dict):
            function = call.get("function")
            name = function.get("name") if isinstance(function, dict) else None
            yield str(call.get("id", "")), str(name or "a tool")


def _results_of(message: Message) -> list[dict[str, Any]]:
    return [result for result in message.tool_results if isinstance(result, dict)]


def _tools_of(message: Message) -> list[str]:
    results = _results_of(message) or [{}]
    # What Parley itself has said in the place of a result is nobody else's word. Of imported ones nothing is known.
    is_known = not message.is_imported
    return [str(r.get("name") or "a tool") for r in results if not (is_known and r.get("is_own") is True)]


def _listed(what: str, names: Iterable[str]) -> str:
    known = list(names)
    if not known:
        return ""
    shown = ", ".join(f"«{name[:NAME_MAX_CHARACTERS]}»" for name in known[:NAMES_MAX])
    return f"{what} {shown}" + (" and others" if len(known) > NAMES_MAX else "")
