"""What a model reads: the path of a chat from its root to the message being answered. Pure."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from django.conf import settings

from chats.catalog.models import AIModel
from chats.llm.values import GO_ON, ChatMessage, Role
from chats.models import Message

# At most: a model that counts more tokens in its language says so itself.
CHARACTERS_PER_TOKEN = 4
RESULT_MIN_CHARACTERS = 2_000
SHORTENED = "\n\n[… shortened: the rest of this result no longer fits into what you can read at once]"


def prompt_of(path: Iterable[Message], *, system_prompt: str = "") -> list[ChatMessage]:
    """Messages for the provider. Answers without a word (failed before their first token) are left out.

    So are tool calls that came to no result, as of an answer that was cut: providers refuse a chat with such a call.
    """
    path = list(path)
    if is_cut(path):
        # Providers want somebody to have asked: an answer, or a tool's result, is nothing to begin with.
        path = list(itertools.dropwhile(lambda message: message.role != Message.Role.USER, path))
    messages = [ChatMessage(role="system", content=system_prompt)] if system_prompt.strip() else []
    return [*messages, *as_asked(path)]


def as_asked(path: Sequence[Message]) -> list[ChatMessage]:
    """These messages and no others, as `prompt_of` has them.

    A call belongs to the results right below it, and they to it: its id may come again in a later step.
    """
    messages: list[ChatMessage] = []
    at = 0
    while at < len(path):
        message, at = path[at], at + 1
        results: list[ChatMessage] = []
        while at < len(path) and path[at].role == Message.Role.TOOL:
            results += _tool_results(path[at])
            at += 1
        if message.role == Message.Role.TOOL:
            continue  # what it answers is not there any more
        answered = {result.tool_call_id for result in results}
        calls = [call for call in message.tool_calls if isinstance(call, dict) and str(call.get("id", "")) in answered]
        if message.content or calls:
            messages.append(ChatMessage(role=cast(Role, message.role), content=message.content, tool_calls=calls))
        called = {str(call["id"]) for call in calls}
        messages += [result for result in results if result.tool_call_id in called]
    return messages


def room_of(model: AIModel | None) -> int:
    """How many characters `model` is given to read at most."""
    most: int = settings.PROMPT_MAX_CHARACTERS
    if model is not None and model.context_window:
        return min(most, model.context_window * CHARACTERS_PER_TOKEN)
    return most


def fitted(messages: Sequence[ChatMessage], *, characters: int) -> list[ChatMessage]:
    """The same, with results of tools shortened, the oldest first, until all have so many characters together.

    Where even that is not enough it is for the provider to say so.
    """
    over = sum(map(_size, messages)) - characters
    kept: list[ChatMessage] = []
    for message in messages:
        if over > 0 and message.role == "tool" and len(message.content) > RESULT_MIN_CHARACTERS:
            left = max(RESULT_MIN_CHARACTERS, len(message.content) - over - len(SHORTENED))
            shorter = replace(message, content=message.content[:left] + SHORTENED)
            over -= len(message.content) - len(shorter.content)
            message = shorter  # noqa: PLW2901 - it stands in its place
        kept.append(message)
    return kept


def _size(message: ChatMessage) -> int:
    return len(message.content) + sum(len(str(call)) for call in message.tool_calls)


def is_cut(path: Sequence[Message]) -> bool:
    """Whether messages before these were left out."""
    return bool(path) and path[0].parent_id is not None


def continued(messages: Iterable[ChatMessage], text: str) -> list[ChatMessage]:
    """The same for a model whose answer to `messages` broke off after `text`."""
    return [*messages, ChatMessage(role="assistant", content=text), ChatMessage(role="user", content=GO_ON)]


def _tool_results(message: Message) -> list[ChatMessage]:
    if message.role != Message.Role.TOOL:
        return []
    results = message.tool_results or [{}]
    return [
        ChatMessage(
            role="tool",
            content=str(result.get("content", message.content)),
            tool_call_id=str(result.get("tool_call_id", "")),
        )
        for result in results
        if isinstance(result, dict)
    ]
