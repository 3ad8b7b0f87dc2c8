"""manage.py add_model, as operators and scripts call it."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from chats.catalog.models import AIModel, Price, Provider
from chats.catalog.services import usable_model

NEW = ["GPT 9", "--provider", "Example", "--base-url", "https://api.example.org/v1/", "--model-id", "gpt-9"]
PRICES = ["--input-price", "1.25", "--output-price", "10"]


def add(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("add_model", *arguments, stdout=out)
    return json.loads(out.getvalue())


def refused(*arguments: str) -> dict[str, Any]:
    err = StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("add_model", *arguments, stderr=err)
    assert caught.value.code == 1
    return json.loads(err.getvalue())["error"]


def test_it_makes_provider_model_and_price(db: None) -> None:
    shown = add(*NEW, *PRICES, "--cached-input-price", "0.125", "--api-key", "sk-canary", "--context-window", "128000")
    model = AIModel.objects.select_related("provider").get(model_id="gpt-9")
    assert shown == {
        "id": str(model.pk),
        "name": "GPT 9",
        "provider": {
            "id": str(model.provider.pk),
            "name": "Example",
            "kind": "openai",
            "base_url": "https://api.example.org/v1",
        },
        "model_id": "gpt-9",
        "kind": "chat",
        "enabled": True,
        "order": 100,
        "first_token_seconds": None,
        "silence_seconds": None,
        "fallback": None,
        "price": {
            "input_per_million": "1.25",
            "cached_input_per_million": "0.125",
            "cache_write_per_million": None,
            "output_per_million": "10",
            "per_request": "0",
            "currency": "USD",
        },
        "created": True,
    }
    assert (model.provider.api_key, model.context_window) == ("sk-canary", 128_000)


def test_a_model_for_embeddings_has_no_price_of_output(db: None) -> None:
    shown = add(*NEW, "--embeddings", "--input-price", "0.02")
    assert (shown["kind"], shown["price"]["input_per_million"], shown["price"]["output_per_million"]) == (
        "embedding",
        "0.02",
        "0",
    )
    assert add(*NEW)["kind"] == "embedding"
    assert "titles" in refused(*NEW, "--writes-titles")["message"]


def test_the_same_again_changes_nothing_and_adds_no_price(db: None) -> None:
    first = add(*NEW, *PRICES, "--api-key", "sk-canary")
    assert add(*NEW, *PRICES) == {**first, "created": False}
    assert Price.objects.filter(model__model_id="gpt-9").count() == 1
    assert Provider.objects.get(name="Example").api_key == "sk-canary"


def test_another_price_is_added_and_other_details_stay(db: None) -> None:
    add(*NEW, *PRICES, "--description", "Quick", "--max-output", "4096")
    changed = add(*NEW, "--input-price", "1.5", "--output-price", "10")
    assert changed["price"]["input_per_million"] == "1.5"
    model = AIModel.objects.get(model_id="gpt-9")
    assert (model.prices.count(), model.description, model.max_output_tokens) == (2, "Quick", 4096)


def test_a_new_model_comes_last_but_before_the_demo_unless_told_otherwise(demo_model: AIModel, owner: User) -> None:
    def names() -> list[str]:
        return list(AIModel.objects.visible_to(owner).values_list("name", flat=True))

    assert usable_model(owner, None) == demo_model
    for name in ("Second letter B", "First letter A"):
        add(name, *NEW[1:-1], name)
    add("Another demo", "--provider", demo_model.provider.name, "--model-id", "parley-demo-2")
    assert names() == ["Second letter B", "First letter A", demo_model.name, "Another demo"]
    assert add("Chosen", *NEW[1:-1], "chosen", "--order", "7")["order"] == 7
    assert names()[0] == usable_model(owner, None).name == "Chosen"
    add("Second letter B", *NEW[1:-1], "Second letter B")
    assert names()[1] == "Second letter B", "what was there keeps its place"
    assert "order" in refused("Chosen", *NEW[1:-1], "chosen", "--order", "first")["fields"]


def test_without_prices_the_price_is_unknown(db: None) -> None:
    assert add(*NEW)["price"] is None


def test_disabled_disables_and_its_absence_enables(db: None) -> None:
    assert add(*NEW, "--disabled")["enabled"] is False
    assert add(*NEW)["enabled"] is True
    assert add(*NEW, "--disabled")["enabled"] is False


def test_the_model_id_can_change_and_an_existing_provider_needs_no_address(db: None) -> None:
    first = add(*NEW)
    again = add("GPT 9", "--provider", "Example", "--model-id", "gpt-9-2")
    assert (again["id"], again["model_id"], again["created"]) == (first["id"], "gpt-9-2", False)


def test_one_model_writes_titles(db: None) -> None:
    add(*NEW, "--writes-titles")
    assert AIModel.objects.get(writes_titles=True).name == "GPT 9"
    error = refused("Other", "--provider", "Example", "--model-id", "other", "--writes-titles")
    assert "Another model already writes titles" in error["message"]


def test_a_second_name_for_a_model_id_already_exists(db: None) -> None:
    add(*NEW)
    error = refused("Second", "--provider", "Example", "--model-id", "gpt-9")
    assert "already exists" in error["message"]
    assert not AIModel.objects.filter(name="Second").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input-price", "-1", "--output-price", "1"], "can't be negative"),
        (["--input-price", "1", "--output-price", "1e9"], "check the decimal point"),
        (["--input-price", "1", "--output-price", "cheap"], "is not a price"),
        (["--input-price", "nan", "--output-price", "1"], "is not a price"),
        (["--input-price", "sNaN", "--output-price", "1"], "is not a price"),
        (["--input-price", "1"], "both"),
        (["--cached-input-price", "1"], "both"),
        (["--kind", "carrier-pigeon"], "not a valid choice"),
        (["--base-url", "ftp://example.org"], "http:// or https://"),
        (["--api-key", "schlüssel"], "copy it again"),
        (["--context-window", "wide"], "integer"),
        (["--context-window", "-1"], "greater than or equal to 0"),
        (["--max-output", "99999999999"], "less than or equal"),
        (["--description", "x" * 301], "300"),
        (["--description", "a\udcffb"], "can't be stored"),
        (["--model-id", ""], "blank"),
        (["--model-id", "a\udcffb"], "can't be stored"),
        (["--provider", "a\udcffb"], "can't be stored"),
    ],
)
def test_a_bad_value_is_an_error_and_leaves_nothing_behind(db: None, arguments: list[str], words: str) -> None:
    error = refused(*NEW, *arguments)
    assert error["code"] == "invalid"
    assert words in error["message"]
    assert not AIModel.objects.filter(name="GPT 9").exists()
    assert not Provider.objects.filter(name="Example").exists()


def test_a_name_that_can_not_be_stored_is_refused(db: None) -> None:
    assert "can't be stored" in refused("a\udcffb", *NEW[1:])["message"]


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(CommandError, match="--model-id"):
        call_command("add_model", "GPT 9", "--provider", "Example")
