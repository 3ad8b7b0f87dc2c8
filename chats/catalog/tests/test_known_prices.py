"""Prices of well-known models, offered on import only when they are certain."""

from dataclasses import asdict
from decimal import Decimal

import pytest

from chats.catalog.known_prices import known_model, makes_embeddings
from chats.catalog.models import AIModel
from chats.catalog.services import set_price


def test_a_known_model_at_its_own_provider_has_a_price_and_a_source() -> None:
    known = known_model("https://api.openai.com/v1", "gpt-4o")
    assert known is not None
    assert known.price is not None
    assert (known.price.input_per_million, known.price.output_per_million) == (Decimal("2.5"), Decimal(10))
    assert known.context_window == 128_000
    assert known.source.startswith("genai-prices ")


def test_what_is_known_can_be_set_as_a_price(demo_model: AIModel) -> None:
    known = known_model("https://api.openai.com/v1", "gpt-4o")
    assert known is not None
    assert known.price is not None
    price = set_price(demo_model, **asdict(known.price), reason=known.source)
    assert (str(price), price.cached_input_per_million, price.reason) == (
        "2.5 in, 10 out",
        Decimal("1.25"),
        known.source,
    )


@pytest.mark.parametrize(
    ("base_url", "model_id"),
    [
        ("http://localhost:11434/v1", "gpt-4o"),
        ("https://gateway.example/v1", "gpt-4o"),
        ("https://api.openai.com/v1", "gpt-4o-of-our-own"),
        ("", "parley-demo"),
    ],
)
def test_any_other_model_or_server_is_unknown(base_url: str, model_id: str) -> None:
    assert known_model(base_url, model_id) is None


def test_a_price_that_is_not_two_plain_numbers_stays_unknown() -> None:
    known = known_model("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro")  # tiers
    assert known is not None
    assert known.price is None


def test_the_output_of_a_model_for_embeddings_costs_nothing_as_there_is_none() -> None:
    known = known_model("https://api.openai.com/v1", "text-embedding-3-small")
    assert known is not None
    assert known.price is not None
    assert (known.price.input_per_million, known.price.output_per_million) == (Decimal("0.02"), Decimal(0))


@pytest.mark.parametrize(
    "model_id",
    [
        "text-embedding-3-small",
        "nomic-embed-text:latest",
        "mxbai-embed-large",
        "BAAI/bge-m3",
        "intfloat/multilingual-e5-large",
        "all-minilm:22m",
        "thenlper/gte-base",
        "Qwen/Qwen3-Embedding-8B",
    ],
)
def test_models_for_embeddings_are_known_by_their_names(model_id: str) -> None:
    assert makes_embeddings(model_id)


@pytest.mark.parametrize("model_id", ["gpt-4o", "llama3.1:8b", "claude-sonnet-4-5", "gemma-2b", "qwen3:4b", "o3"])
def test_models_that_answer_are_not_taken_for_them(model_id: str) -> None:
    assert not makes_embeddings(model_id)
