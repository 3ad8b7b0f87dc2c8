"""The ledger in the admin: read, filtered and summed, never changed."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.usage.models import UsageRecord

LIST = reverse("admin:usage_usagerecord_changelist")


@pytest.fixture
def desk(superuser: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(superuser)


def record(user: User, cost: str | None, **fields: Any) -> UsageRecord:
    return UsageRecord.objects.create(
        user=user,
        user_email=user.email,
        provider_name="House",
        model_name="<b>large</b>",
        cost=cost and Decimal(cost),
        **fields,
    )


def text(response: Any) -> str:
    return response.content.decode()


def test_costs_are_exact_and_unknown_is_not_free(desk: Client, owner: User) -> None:
    record(owner, "0.00000000000125", input_tokens=3)
    record(owner, None)
    record(owner, "0")
    page = text(desk.get(LIST))
    assert '<td class="field-cost_usd">0.00000000000125</td>' in page
    assert '<td class="field-cost_usd">unknown</td>' in page
    assert '<td class="field-cost_usd">0</td>' in page
    assert "<b>large</b>" not in page


def test_the_total_is_that_of_the_filtered_rows(desk: Client, owner: User, stranger: User) -> None:
    record(owner, "0.1", input_tokens=10, output_tokens=1)
    record(owner, "0.2", input_tokens=20, output_tokens=2)
    record(owner, None, is_estimated=True)
    record(stranger, "5")
    page = " ".join(text(desk.get(LIST, {"q": "owner@"})).split())
    assert (
        "<strong>0.3 USD</strong> for 3 calls, 30 input and 3 output tokens. The price of 1 of them was unknown" in page
    )
    page = text(desk.get(LIST, {"is_estimated__exact": "1"}))
    assert "<strong>0 USD</strong> for 1 call," in page


def test_a_filter_that_makes_no_sense_is_no_failure(desk: Client) -> None:
    assert desk.get(LIST, {"is_estimated__exact": "perhaps"}, follow=True).status_code == 200


def test_nothing_is_added_changed_or_deleted(desk: Client, owner: User) -> None:
    row = record(owner, "1")
    change = reverse("admin:usage_usagerecord_change", args=[row.pk])
    assert 'name="_save"' not in text(desk.get(change))
    addresses = [change, reverse("admin:usage_usagerecord_add")]
    addresses.append(reverse("admin:usage_usagerecord_delete", args=[row.pk]))
    assert {desk.post(url, {"post": "yes"}).status_code for url in addresses} == {403}
    assert UsageRecord.objects.filter(pk=row.pk, cost=1).exists()


def test_the_list_takes_the_same_queries_for_any_number_of_rows(
    desk: Client, owner: User, django_assert_num_queries, django_assert_max_num_queries
) -> None:
    record(owner, "1")
    with django_assert_max_num_queries(12) as few:
        desk.get(LIST)
    for _ in range(9):
        record(owner, "1")
    with django_assert_num_queries(len(few)):
        desk.get(LIST)
