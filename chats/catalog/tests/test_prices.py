"""Prices are added, never changed, and nonsense is refused in words."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chats.catalog.models import AIModel, Price
from chats.catalog.services import set_price, simple_price
from chats.errors import Invalid


def test_a_new_price_is_in_force_and_the_old_one_stays(demo_model: AIModel, staff: User) -> None:
    count = demo_model.prices.count()
    price = set_price(
        demo_model, input_per_million=Decimal("1.25"), output_per_million=Decimal(10), author=staff, reason="List price"
    )
    assert demo_model.price_at(timezone.now()) == price
    assert (price.author, price.reason) == (staff, "List price")
    assert demo_model.prices.count() == count + 1


def test_a_price_of_tomorrow_changes_nothing_today(demo_model: AIModel) -> None:
    now = timezone.now()
    today = set_price(demo_model, input_per_million=Decimal(1), output_per_million=Decimal(1), valid_from=now)
    tomorrow = now + timedelta(days=1)
    later = set_price(demo_model, input_per_million=Decimal(2), output_per_million=Decimal(2), valid_from=tomorrow)
    assert demo_model.price_at(now) == today
    assert demo_model.price_at(tomorrow) == later


def test_of_two_prices_from_the_same_moment_the_later_row_counts(demo_model: AIModel) -> None:
    now = timezone.now()
    for usd in (1, 2):
        set_price(demo_model, input_per_million=Decimal(usd), output_per_million=Decimal(usd), valid_from=now)
    assert str(demo_model.price_at(now)) == "2 in, 2 out"


def test_eight_decimals_come_back_exactly(demo_model: AIModel) -> None:
    smallest, largest = Decimal("0.00000001"), Decimal("99999.99999999")
    price = set_price(demo_model, input_per_million=smallest, output_per_million=largest)
    price.refresh_from_db()
    assert (price.input_per_million, price.output_per_million) == (smallest, largest)


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"input_per_million": Decimal("-0.01")}, "can't be negative"),
        ({"output_per_million": Decimal(-1)}, "can't be negative"),
        ({"cached_input_per_million": Decimal(-1)}, "can't be negative"),
        ({"cache_write_per_million": Decimal(-1)}, "can't be negative"),
        ({"per_request": Decimal(-1)}, "can't be negative"),
        ({"input_per_million": Decimal(100_001)}, "check the decimal point"),
        ({"per_request": Decimal(1_001)}, "check the decimal point"),
        ({"input_per_million": Decimal("1E+400")}, "check the decimal point"),
        ({"input_per_million": Decimal("0.123456789")}, "8 decimal places"),
        ({"input_per_million": Decimal("NaN")}, "decimal number"),
        ({"input_per_million": Decimal("sNaN")}, "decimal number"),
        ({"input_per_million": Decimal("Infinity")}, "decimal number"),
        ({"input_per_million": "much"}, "decimal number"),
        ({"input_per_million": None}, "null"),
        ({"reason": "a\0b"}, "can't be stored"),
        ({"reason": "x" * 201}, "200"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(demo_model: AIModel, amounts: dict[str, Any], words: str) -> None:
    before = Price.objects.count()
    with pytest.raises(Invalid, match=words):
        set_price(demo_model, **{"input_per_million": Decimal(1), "output_per_million": Decimal(1), **amounts})
    assert Price.objects.count() == before


@pytest.mark.parametrize(
    ("amounts", "simple"),
    [
        ({"input_per_million": Decimal(2), "output_per_million": Decimal(2)}, Decimal(2)),
        ({"input_per_million": Decimal(0), "output_per_million": Decimal(0)}, Decimal(0)),
        (
            {
                "input_per_million": Decimal(2),
                "output_per_million": Decimal(2),
                "cached_input_per_million": Decimal(2),
            },
            Decimal(2),
        ),
        ({"input_per_million": Decimal(2), "output_per_million": Decimal(3)}, None),
        (
            {
                "input_per_million": Decimal(2),
                "output_per_million": Decimal(2),
                "cached_input_per_million": Decimal(1),
            },
            None,
        ),
        ({"input_per_million": Decimal(2), "output_per_million": Decimal(2), "per_request": Decimal(1)}, None),
    ],
)
def test_one_number_is_shown_only_when_it_says_everything(amounts: dict[str, Decimal], simple: Decimal | None) -> None:
    assert simple_price(Price(**amounts)) == simple


def test_an_unknown_price_is_not_a_number() -> None:
    assert simple_price(None) is None
