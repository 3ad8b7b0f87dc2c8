"""Vectors from a provider: as many as texts, in their order, finite; whatever else it says is an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from chats.llm.errors import (
    ProviderBroken,
    ProviderBusy,
    ProviderNonsense,
    ProviderRefused,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from chats.llm.registry import embed
from chats.llm.tests.conftest import MODEL
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Embedded, Limits, Target

pytestmark = pytest.mark.rowless

TEXTS = ["one", "two", "three"]
Embed = Callable[..., Awaitable[Embedded]]


@pytest.fixture
def vectors(fake_provider: FakeProvider, target: Target) -> Embed:
    """`await vectors(Script(...))`: what comes of one call to a provider that behaves like that."""

    async def make(script: Script | None = None, texts: list[str] = TEXTS, **settings: Any) -> Embedded:
        fake_provider.script(MODEL, script or Script())
        return await embed(target, texts, settings, Limits(first_token_seconds=2))

    return make


def answering(*numbers: Any, **fields: Any) -> Script:
    """A provider that says these are the vectors."""
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(numbers)]
    return Script(body={"data": data, **fields})


async def test_a_vector_for_each_text(vectors: Embed, fake_provider: FakeProvider) -> None:
    done = await vectors(Script(vector_of=lambda text: [len(text), 1]))

    assert done.vectors.tolist() == [[3, 1], [3, 1], [5, 1]]
    assert done.vectors.dtype == np.float32
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens) == (3, 0)
    assert fake_provider.requests[-1].body == {"model": MODEL, "input": TEXTS}


async def test_settings_are_sent_and_change_nothing_of_ours(vectors: Embed, fake_provider: FakeProvider) -> None:
    await vectors(None, dimensions=64, model="another", input=["no"])

    assert fake_provider.requests[-1].body == {"model": MODEL, "input": TEXTS, "dimensions": 64}


async def test_what_json_cannot_hold_is_cleaned(vectors: Embed, fake_provider: FakeProvider) -> None:
    await vectors(None, ["a\x00b", "c\ud800"])

    assert fake_provider.requests[-1].body["input"] == ["a\ufffdb", "c\ufffd"]


async def test_they_are_put_into_the_order_of_the_texts(vectors: Embed) -> None:
    data = [{"index": index, "embedding": [index, 0.5]} for index in (2, 0, 1)]

    assert (await vectors(Script(body={"data": data}))).vectors[:, 0].tolist() == [0, 1, 2]


async def test_without_a_count_of_tokens_there_is_no_usage(vectors: Embed) -> None:
    assert (await vectors(answering([1], [2], [3]))).usage is None
    assert (await vectors(answering([1], [2], [3], usage={"prompt_tokens": "many"}))).usage is None


@pytest.mark.parametrize(
    "script",
    [
        answering([1], [2]),
        answering([1], [2], [3], [4]),
        answering([1], [2], [3, 4]),
        answering([1], [2], []),
        answering([], [], []),
        answering(1, 2, 3),
        answering([[1]], [[2]], [[3]]),
        answering([1], [2], None),
        answering([1], [2], ["x"]),
        answering([1], [2], {"a": 1}),
        answering([1], [2], [10**400]),
        Script(body='{"data": [{"embedding": [1]}, {"embedding": [NaN]}, {"embedding": [2]}]}'),
        Script(body='{"data": [{"embedding": [1]}, {"embedding": [1e999]}, {"embedding": [2]}]}'),
        Script(body={"data": [1, 2, 3]}),
        Script(body={"data": "x"}),
        Script(body={"data": None}),
        Script(body="<html>Welcome</html>"),
        Script(body="[]"),
        Script(body=""),
        Script(body="[" * 100_000),
        answering(*([[0.5] * 9_000] * 3)),
    ],
)
async def test_what_is_no_list_of_vectors(vectors: Embed, script: Script) -> None:
    with pytest.raises(ProviderNonsense, match="vector for each text"):
        await vectors(script)


async def test_an_answer_without_end_is_not_read_to_it(vectors: Embed) -> None:
    with pytest.raises(ProviderNonsense):
        await vectors(Script(body=" " * 9_000_000), ["one"])


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(status=401), ProviderRefused),
        (Script(status=404), ProviderRejected),
        (Script(status=400), ProviderRejected),
        (Script(status=429, headers={"Retry-After": "7"}), ProviderBusy),
        (Script(status=500), ProviderBroken),
        (Script(drop_before=True), ProviderUnreachable),
        (Script(hang=True), ProviderTimeout),
        (Script(body={"error": {"message": "no such model", "code": "model_not_found"}}), ProviderRejected),
    ],
)
async def test_what_goes_wrong(vectors: Embed, script: Script, error: type[Exception]) -> None:
    with pytest.raises(error):
        await vectors(script)


async def test_the_demo_makes_none() -> None:
    with pytest.raises(ProviderRejected, match="demo"):
        await embed(Target("demo", "", "", "parley-demo"), TEXTS, {}, Limits())


async def test_cancelling_closes_the_connection(
    fake_provider: FakeProvider, target: Target, eventually: Callable[..., Awaitable[bool]]
) -> None:
    fake_provider.script(MODEL, Script(hang=True))
    call = asyncio.create_task(embed(target, TEXTS, {}, Limits()))
    assert await eventually(fake_provider.wait_requests, 1)

    call.cancel()

    assert await eventually(fake_provider.wait_closed, 1)
