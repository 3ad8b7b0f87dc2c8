from decimal import Decimal

import pytest

from chats.catalog.models import Price
from chats.llm.values import Usage
from chats.usage.costs import cost_of, estimated_tokens


def _price(**amounts):
    return Price(**{name: Decimal(amount) for name, amount in amounts.items()})


PLAIN = _price(input_per_million="1.25", output_per_million="10")
FULL = _price(
    input_per_million="3",
    cached_input_per_million="0.3",
    cache_write_per_million="3.75",
    output_per_million="15",
    per_request="0.005",
)


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (Usage(), PLAIN, "0"),
        (Usage(input_tokens=1, output_tokens=1), PLAIN, "0.00001125"),
        (Usage(input_tokens=1000, output_tokens=200), PLAIN, "0.00325"),
        (Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=200), PLAIN, "0.00325"),
        (Usage(input_tokens=1000, cached_input_tokens=400, cache_write_tokens=100, output_tokens=10), FULL, "0.007145"),
        (Usage(input_tokens=3, output_tokens=7, reasoning_tokens=5), PLAIN, "0.00007375"),
        (Usage(input_tokens=10, cached_input_tokens=40), PLAIN, "0.00005"),
        (Usage(input_tokens=7, output_tokens=7), _price(input_per_million="0", output_per_million="0"), "0"),
    ],
)
def test_cost_is_exact(usage, price, cost):
    assert cost_of(usage, price) == Decimal(cost)


def test_an_unknown_price_is_not_free():
    assert cost_of(Usage(input_tokens=5, output_tokens=5), None) is None


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("日本語", 3)])
def test_tokens_are_estimated_from_bytes(text, tokens):
    assert estimated_tokens(text) == tokens
