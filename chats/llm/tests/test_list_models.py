"""The list of a server's models, in whatever shape it comes."""

import gzip
from dataclasses import replace

import orjson
import pytest

from chats.llm import errors
from chats.llm.registry import list_models
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import Limits, Target

KEY = "sk-canary-0123456789"


async def test_ids_are_sorted(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.models = ["b", "a", "b"]
    assert await list_models(target, Limits()) == ["a", "b"]


async def test_the_query_of_the_base_url_is_kept(fake_provider: FakeProvider, target: Target) -> None:
    await list_models(replace(target, base_url=f"{fake_provider.base_url}/?api-version=1"), Limits())
    assert fake_provider.requests[0].path == "/v1/models?api-version=1"


async def test_a_wrong_key_is_refused(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.require_key(KEY)
    assert await list_models(replace(target, api_key=KEY), Limits())
    with pytest.raises(errors.ProviderRefused, match="status 401"):
        await list_models(target, Limits())


async def test_a_wrong_base_url_is_rejected(fake_provider: FakeProvider, target: Target) -> None:
    with pytest.raises(errors.ProviderRejected, match="base URL"):
        await list_models(replace(target, base_url=fake_provider.base_url + "/v2"), Limits())


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ({"data": []}, []),
        ({"models": [{"name": "llama"}]}, ["llama"]),
        ([{"id": "x"}, "y", 7, None, {"id": 3}, {"id": ""}, {"id": "x" * 201}], ["x", "y"]),
        ({"data": [{"id": "a\x00"}]}, ["a\ufffd"]),
        ({"data": [{"id": f"m{n:05}"} for n in range(6_000)]}, [f"m{n:05}" for n in range(5_000)]),
    ],
)
async def test_other_shapes(fake_provider: FakeProvider, target: Target, value: object, ids: list[str]) -> None:
    fake_provider.models_script = Script(body=orjson.dumps(value))
    assert await list_models(target, Limits()) == ids


@pytest.mark.parametrize("body", [b"<html>Hi</html>", b"{", b"{}", b"7", b'{"data": "no"}', b"[" + b" " * 2_000_001])
async def test_what_is_no_list_is_nonsense(fake_provider: FakeProvider, target: Target, body: bytes) -> None:
    fake_provider.models_script = Script(body=body)
    with pytest.raises(errors.ProviderNonsense, match="list of models"):
        await list_models(target, Limits())


async def test_a_list_that_breaks_off(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.models_script = Script(body=b"{", headers={"Content-Length": "9"})
    with pytest.raises(errors.ProviderUnreachable, match="broke off"):
        await list_models(target, Limits(first_token_seconds=0.05))


async def test_a_compressed_list_is_refused(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.models_script = Script(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    with pytest.raises(errors.ProviderNonsense, match="compressed"):
        await list_models(target, Limits())
