"""Kinds of providers: each a module, loaded on first use. The rest of the house calls only what is here."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

from chats.llm.errors import ProviderError, ProviderRejected, ProviderTimeout
from chats.llm.http import close_sessions, host_of
from chats.llm.values import (
    ChatRequest,
    Embedded,
    Limits,
    ReasoningDelta,
    StreamEvent,
    Target,
    TextDelta,
    Usage,
    UsageReported,
)

__all__ = ["KINDS", "close_sessions", "complete", "embed", "list_models", "open_stream"]

KINDS = {
    "openai": "chats.llm.openai",
    "demo": "chats.llm.demo",
}


class Kind(Protocol):
    """What a module of KINDS has."""

    def open_stream(
        self, target: Target, request: ChatRequest, limits: Limits, /
    ) -> AsyncGenerator[StreamEvent, None]: ...

    async def list_models(self, target: Target, limits: Limits, /) -> list[str]: ...

    async def embed(
        self, target: Target, texts: Sequence[str], settings: Mapping[str, Any], limits: Limits, /
    ) -> Embedded: ...


@cache
def _module(kind: str) -> Kind:
    if kind not in KINDS:
        raise ProviderRejected(f"There is no provider of the kind «{kind}» here. Staff must choose another kind.")
    return cast(Kind, import_module(KINDS[kind]))


@dataclass(slots=True)
class Completion:
    """An answer as a whole; after a `failure`, what had come of it. `usage` is None if the provider did not tell."""

    text: str = ""
    reasoning: str = ""
    usage: Usage | None = None
    failure: ProviderError | None = None


def open_stream(target: Target, request: ChatRequest, limits: Limits) -> AsyncGenerator[StreamEvent, None]:
    """The events of one answer as they come: deltas, then at most one UsageReported, then Finished.

    Without Finished the provider ended without a finish reason. Raises only ProviderError, UsageReported before it if
    the provider had said it. `aclose()`, or cancelling the task that reads, closes the connection at once. A loop of
    one's own must `await close_sessions()` before it ends.
    """
    return _module(target.kind).open_stream(target, request, limits)


async def list_models(target: Target, limits: Limits) -> list[str]:
    """The ids of the models this provider offers, sorted. Raises ProviderError. Leaves no session behind."""
    return await _module(target.kind).list_models(target, limits)


async def embed(target: Target, texts: Sequence[str], settings: Mapping[str, Any], limits: Limits) -> Embedded:
    """The vectors of `texts`, one each, as long as the provider makes them. Raises ProviderError.

    `settings` are sent as they are. A loop of one's own must `await close_sessions()` before it ends.
    """
    return await _module(target.kind).embed(target, texts, settings, limits)


async def complete(
    target: Target, request: ChatRequest, limits: Limits, *, max_chars: int, seconds: float
) -> Completion:
    """The answer, at most `max_chars` of it, in at most `seconds`. What went wrong is in its `failure`."""
    done = Completion()
    try:
        async with asyncio.timeout(seconds), aclosing(open_stream(target, request, limits)) as events:
            async for event in events:
                match event:
                    case TextDelta(piece):
                        done.text += piece
                    case ReasoningDelta(piece):
                        done.reasoning += piece
                    case UsageReported(usage):
                        done.usage = usage
                if len(done.text) >= max_chars:
                    break
    except ProviderError as error:
        done.failure = error
    except TimeoutError:
        done.failure = ProviderTimeout(f"{host_of(target)} was not done within {seconds:g} seconds. Try again.")
    done.text = done.text[:max_chars]
    return done
