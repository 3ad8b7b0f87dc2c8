"""Asking the fake provider as the product does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from chats.llm.errors import ProviderError
from chats.llm.registry import close_sessions, open_stream
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import (
    ChatMessage,
    ChatRequest,
    Finished,
    Limits,
    ReasoningDelta,
    StreamEvent,
    Target,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)

MODEL = "model-under-test"
HELLO = ChatRequest([ChatMessage("user", "hello")])


@dataclass
class Outcome:
    """Everything that came of one request."""

    events: list[StreamEvent] = field(default_factory=list)
    error: Any = None  # ProviderError, or None

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, ReasoningDelta))

    @property
    def tool_calls(self) -> list[tuple[str, str, str]]:
        """Each call as (id, name, arguments), put together from its pieces."""
        calls: dict[int, tuple[str, str, str]] = {}
        for e in self.events:
            if isinstance(e, ToolCallDelta):
                call_id, name, arguments = calls.get(e.index, ("", "", ""))
                calls[e.index] = (call_id + e.id, name + e.name, arguments + e.arguments)
        return [calls[index] for index in sorted(calls)]

    @property
    def usage(self) -> Any:  # Usage, or None
        return next((e.usage for e in self.events if isinstance(e, UsageReported)), None)

    @property
    def finish(self) -> str | None:
        return next((e.reason for e in self.events if isinstance(e, Finished)), None)


Ask = Callable[..., Awaitable[Outcome]]


async def outcome_of(target: Target, request: ChatRequest = HELLO, limits: Limits | None = None) -> Outcome:
    outcome = Outcome()
    try:
        async for event in open_stream(target, request, limits or Limits()):
            outcome.events.append(event)
    except ProviderError as error:
        outcome.error = error
    return outcome


@pytest.fixture
async def target(fake_provider: FakeProvider) -> AsyncIterator[Target]:
    """The fake provider, without a key; connections are closed at the end."""
    yield Target("openai", fake_provider.base_url, "", MODEL)
    await close_sessions()


@pytest.fixture
def ask(fake_provider: FakeProvider, target: Target) -> Ask:
    """`await ask(Script(...))`: what comes of one request to a provider that behaves like that."""

    async def make(script: Script | None = None, request: ChatRequest = HELLO, **limits: Any) -> Outcome:
        fake_provider.script(MODEL, script or Script())
        return await outcome_of(target, request, Limits(**limits))

    return make


@pytest.fixture
def eventually() -> Callable[..., Awaitable[bool]]:
    """`await eventually(fake_provider.wait_closed, 1)`: waits for the server's thread without stopping this loop."""
    return asyncio.to_thread
