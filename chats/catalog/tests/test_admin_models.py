"""Staff curate models and prices in the admin."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from chats.catalog.models import AIModel, Price, Provider
from chats.catalog.services import set_price

LIST = reverse("admin:catalog_aimodel_changelist")
ADD = reverse("admin:catalog_aimodel_add")
LAST_YEAR = timezone.now() - timedelta(days=365)
NEXT_YEAR = timezone.now() + timedelta(days=365)


@pytest.fixture
def desk(superuser: User, client_of) -> Client:
    return client_of(superuser)


@pytest.fixture
def provider(db: None) -> Provider:
    return Provider.objects.create(name="House", base_url="http://llm.example/v1")


@pytest.fixture
def model(provider: Provider) -> AIModel:
    return AIModel.objects.create(provider=provider, name="House large", model_id="large-1", enabled=True)


def change_url(model: AIModel) -> str:
    return reverse("admin:catalog_aimodel_change", args=[model.pk])


def filled(provider: Provider, *, old_prices: int = 0, price: dict[str, Any] | None = None, **fields: Any) -> dict:
    """The form of a model as a browser posts it, with a new price in its last row when there is one."""
    row = {f"prices-{old_prices}-{name}": value for name, value in (price or {}).items()}
    if price:
        row |= {f"prices-{old_prices}-valid_from_0": "2026-01-01", f"prices-{old_prices}-valid_from_1": "00:00:00"}
        row.setdefault(f"prices-{old_prices}-per_request", "0")
    return {
        "provider": provider.pk,
        "name": "House large",
        "model_id": "large-1",
        "enabled": "on",
        "order": "100",
        "default_settings": "{}",
        "prices-TOTAL_FORMS": old_prices + bool(price),
        "prices-INITIAL_FORMS": old_prices,
        **row,
        **fields,
    }


def text(response: Any) -> str:
    return response.content.decode()


def test_a_model_with_its_first_price_is_added(desk: Client, provider: Provider, superuser: User) -> None:
    group = Group.objects.create(name="Research")
    price = {"input_per_million": "1.25", "output_per_million": "10", "reason": "List price"}
    response = desk.post(ADD, filled(provider, price=price, groups=[group.pk], default_settings='{"temperature": 0.3}'))
    assert response.status_code == 302
    model = AIModel.objects.get(model_id="large-1")
    assert (list(model.groups.all()), model.default_settings) == ([group], {"temperature": 0.3})
    added = model.price_at(timezone.now())
    assert added is not None
    assert (str(added), added.author, added.reason) == ("1.25 in, 10 out", superuser, "List price")


def test_a_price_change_adds_a_row_and_leaves_the_old_one(desk: Client, model: AIModel, superuser: User) -> None:
    old = set_price(model, input_per_million=Decimal(1), output_per_million=Decimal(2), valid_from=LAST_YEAR)
    price = {"input_per_million": "3", "output_per_million": "4"}
    tampered: dict[str, Any] = {"prices-0-id": old.pk, "prices-0-model": model.pk, "prices-0-input_per_million": "0"}
    desk.post(change_url(model), filled(model.provider, old_prices=1, price=price, **tampered))
    old.refresh_from_db()
    assert (old.input_per_million, model.prices.count()) == (1, 2)
    assert str(model.price_at(timezone.now())) == "3 in, 4 out"
    assert "Added price" in LogEntry.objects.latest("pk").get_change_message()


def test_old_prices_can_be_neither_typed_over_nor_deleted(desk: Client, model: AIModel) -> None:
    old = set_price(model, input_per_million=Decimal("1.25"), output_per_million=Decimal(200), reason="<b>List</b>")
    page = text(desk.get(change_url(model)))
    assert "<td>1.25</td>" in page
    assert "<td>200</td>" in page
    assert "<b>List</b>" not in page
    assert str(old.pk) not in page
    assert 'name="prices-0-input_per_million"' in page
    assert "prices-1-input_per_million" not in page
    assert "prices-0-DELETE" not in page
    gone: dict[str, Any] = {"prices-0-id": old.pk, "prices-0-model": model.pk, "prices-0-DELETE": "on"}
    desk.post(change_url(model), filled(model.provider, old_prices=1, **gone))
    assert Price.objects.filter(pk=old.pk).exists()


@pytest.mark.parametrize(
    ("amount", "words"),
    [("-1", "can&#x27;t be negative"), ("1000000", "check the decimal point"), ("NaN", "Enter a number")],
)
def test_nonsense_prices_are_refused_on_the_form(desk: Client, model: AIModel, amount: str, words: str) -> None:
    price = {"input_per_million": amount, "output_per_million": "1"}
    response = desk.post(change_url(model), filled(model.provider, price=price))
    assert response.status_code == 200
    assert words in text(response)
    assert not model.prices.exists()


@pytest.mark.parametrize("taken", [{"name": "Another"}, {"model_id": "another"}])
def test_duplicates_already_exist(desk: Client, model: AIModel, taken: dict[str, Any]) -> None:
    response = desk.post(ADD, filled(model.provider, **taken))
    assert "already exists" in text(response)
    assert AIModel.objects.filter(provider=model.provider).count() == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[]", ""),
        ('["x"]', "Must be a JSON object"),
        ("{", "valid JSON"),
        ('{"n": 5, "stream": false}', "Parley sets these itself: n, stream"),
        ('{"seed": 1e300}', "64 bits"),
        ('{"stop": "' + "x" * 16_000 + '"}', "at most"),
    ],
)
def test_settings_must_be_an_object_that_can_be_sent(desk: Client, model: AIModel, settings: str, words: str) -> None:
    response = desk.post(change_url(model), filled(model.provider, default_settings=settings))
    assert words in text(response)
    model.refresh_from_db()
    assert model.default_settings == {}


def test_enabled_and_order_are_changed_in_the_list(desk: Client, model: AIModel, demo_model: AIModel) -> None:
    rows = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2, "_save": "Save"}
    rows |= {"form-0-id": model.pk, "form-0-order": 7, "form-1-id": demo_model.pk, "form-1-order": 8}
    rows |= {"form-1-enabled": "on"}
    assert desk.post(LIST, rows).status_code == 302
    model.refresh_from_db()
    assert (model.enabled, model.order) == (False, 7)


def test_the_list_shows_the_price_in_force_and_marks_the_unknown(desk: Client, model: AIModel) -> None:
    assert '<strong class="unknown-price">unknown</strong>' in text(desk.get(LIST))
    set_price(
        model,
        input_per_million=Decimal("0.15"),
        output_per_million=Decimal(10),
        valid_from=LAST_YEAR,
    )
    set_price(model, input_per_million=Decimal(9), output_per_million=Decimal(9), valid_from=NEXT_YEAR)
    page = text(desk.get(LIST))
    assert "0.15 / 10" in page
    assert "unknown-price" not in page


def test_the_list_takes_the_same_queries_for_any_number_of_rows(
    desk: Client, provider: Provider, django_assert_num_queries, django_assert_max_num_queries
) -> None:
    def add(count: int) -> None:
        for _ in range(count):
            name = f"Model {AIModel.objects.count()}"
            model = AIModel.objects.create(provider=provider, name=name, model_id=name)
            set_price(model, input_per_million=Decimal(1), output_per_million=Decimal(2))

    add(2)
    with django_assert_max_num_queries(15) as few:
        desk.get(LIST)
    add(10)
    with django_assert_num_queries(len(few)):
        desk.get(LIST)


def test_search_and_filters_answer(desk: Client, model: AIModel) -> None:
    assert "House large" in text(desk.get(LIST, {"q": "large-1", "enabled__exact": "1"}))
    assert "House large" not in text(desk.get(LIST, {"q": "small"}))
    assert desk.get(LIST, {"q": "a\0b"}).status_code < 500


def test_names_are_text_whatever_they_contain(desk: Client, provider: Provider) -> None:
    payload = "<script>alert(1)</script>"
    model = AIModel.objects.create(provider=provider, name=payload, model_id=payload, description=payload)
    for url in (LIST, change_url(model), reverse("admin:catalog_aimodel_delete", args=[model.pk])):
        assert payload not in text(desk.get(url))


def test_an_unused_model_is_deleted_with_its_prices(desk: Client, model: AIModel) -> None:
    set_price(model, input_per_million=Decimal(1), output_per_million=Decimal(2))
    response = desk.post(reverse("admin:catalog_aimodel_delete", args=[model.pk]), {"post": "yes"}, follow=True)
    assert "was deleted successfully" in text(response)
    assert not AIModel.objects.filter(pk=model.pk).exists()


def test_many_are_not_deleted_at_once(desk: Client, model: AIModel) -> None:
    desk.post(LIST, {"action": "delete_selected", "_selected_action": [model.pk], "post": "yes"})
    assert AIModel.objects.filter(pk=model.pk).exists()


def test_people_who_are_not_staff_do_not_get_in(client_of, owner: User, staff: User, model: AIModel) -> None:
    assert client_of(owner).get(LIST).status_code == 302
    # Staff without the right to the catalog.
    assert client_of(staff).get(LIST).status_code == 403
