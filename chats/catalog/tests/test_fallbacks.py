"""Staff give a model limits of its own, and choose who answers when it does not."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel, Provider
from chats.catalog.services import delete_model, limits_of, set_fallback, usable_fallback
from chats.errors import Invalid

WAITS = ("first_token_seconds", "silence_seconds")


@pytest.fixture
def desk(superuser: User, client_of) -> Client:
    return client_of(superuser)


@pytest.fixture
def models(db: None) -> dict[str, AIModel]:
    """Four models, A to D, of one provider."""
    provider = Provider.objects.create(name="House", base_url="http://llm.example/v1")
    return {
        name: AIModel.objects.create(provider=provider, name=name, model_id=name.lower(), enabled=True)
        for name in "ABCD"
    }


def link(models: dict[str, AIModel], *pairs: str) -> None:
    for one, other in pairs:
        set_fallback(models[one], models[other])


def posted(desk: Client, model: AIModel, **fields: Any) -> str:
    """What the desk answers to the form of `model` with these fields; "" when it is saved."""
    form = {
        "provider": model.provider_id,
        "name": model.name,
        "model_id": model.model_id,
        "enabled": "on",
        "order": "1",
    }
    form |= {"default_settings": "{}", "prices-TOTAL_FORMS": 0, "prices-INITIAL_FORMS": 0, **fields}
    response = desk.post(reverse("admin:catalog_aimodel_change", args=[model.pk]), form)
    return "" if response.status_code == 302 else response.content.decode()


# ---------------------------------------------------------------- limits


def test_without_limits_of_its_own_a_model_has_those_of_the_server(models: dict[str, AIModel], settings) -> None:
    settings.PROVIDER_FIRST_TOKEN_SECONDS, settings.PROVIDER_SILENCE_SECONDS = 7.5, 8.5
    limits = limits_of(models["A"])
    assert (limits.first_token_seconds, limits.silence_seconds) == (7.5, 8.5)


def test_staff_set_limits_at_the_desk(desk: Client, models: dict[str, AIModel]) -> None:
    assert not posted(desk, models["A"], first_token_seconds="600", silence_seconds="")
    model = AIModel.objects.get(name="A")
    assert (model.first_token_seconds, model.silence_seconds) == (600, None)
    assert limits_of(model).first_token_seconds == 600


@pytest.mark.parametrize("field", WAITS)
@pytest.mark.parametrize("seconds", ["0", "-1", "3601", "99999999999", "1.5", "soon"])
def test_limits_out_of_range_are_refused(desk: Client, models: dict[str, AIModel], field: str, seconds: str) -> None:
    assert "errorlist" in posted(desk, models["A"], **{field: seconds})
    assert getattr(AIModel.objects.get(name="A"), field) is None


# ---------------------------------------------------------------- who answers instead


def test_staff_choose_at_the_desk_and_take_it_back(desk: Client, models: dict[str, AIModel]) -> None:
    assert not posted(desk, models["A"], fallback=models["B"].pk)
    assert AIModel.objects.get(name="A").fallback == models["B"]
    assert not posted(desk, models["A"], fallback="")
    assert AIModel.objects.get(name="A").fallback is None


def test_the_desk_offers_every_other_model_with_its_provider(desk: Client, models: dict[str, AIModel]) -> None:
    page = desk.get(reverse("admin:catalog_aimodel_change", args=[models["A"].pk])).content.decode()
    assert ">B (House)</option>" in page
    assert ">A (House)</option>" not in page


@pytest.mark.parametrize(
    ("links", "wanted", "why"),
    [
        ([], "AA", "its own fallback"),
        (["BA"], "AB", "in a circle"),
        (["BC", "CA"], "AB", "in a circle"),
        (["BC", "CD"], "AB", "At most 3 models"),
        (["AB", "CD"], "BC", "At most 3 models"),
        (["AB", "BC"], "CD", "At most 3 models"),
    ],
)
def test_circles_and_long_chains_are_refused_with_the_reason(
    desk: Client, models: dict[str, AIModel], links: list[str], wanted: str, why: str
) -> None:
    link(models, *links)
    model, fallback = (models[name] for name in wanted)
    with pytest.raises(Invalid, match=why) as refused:
        set_fallback(model, fallback)
    assert list(refused.value.fields) == ["fallback"]
    page = posted(desk, model, fallback=fallback.pk)
    # The desk does not even offer a model to itself.
    assert (why if model != fallback else "Select a valid choice") in page
    assert AIModel.objects.get(pk=model.pk).fallback is None


def test_three_in_a_row_and_two_that_share_a_fallback_are_fine(models: dict[str, AIModel]) -> None:
    link(models, "AB", "BC", "DB")
    assert AIModel.objects.filter(fallback__isnull=False).count() == 3


def test_a_model_that_stands_in_may_be_deleted_and_then_nobody_does(models: dict[str, AIModel]) -> None:
    link(models, "AB")
    delete_model(models["B"])
    assert AIModel.objects.get(name="A").fallback is None


def test_the_next_who_may_is_found_however_many_were_asked(models: dict[str, AIModel], owner: User) -> None:
    link(models, "AB", "BC")
    a, b, c = (models[name] for name in "ABC")
    assert usable_fallback(owner, a, asked={a.pk}) == b
    assert usable_fallback(owner, a, asked={a.pk, b.pk}) == c
    assert usable_fallback(owner, a, asked={a.pk, b.pk, c.pk}) is None


def test_a_stand_in_at_an_address_that_is_not_allowed_is_passed_over(
    models: dict[str, AIModel], owner: User, settings
) -> None:
    link(models, "AB", "BC")
    elsewhere = Provider.objects.create(name="Elsewhere", base_url="http://elsewhere.example/v1")
    AIModel.objects.filter(name="B").update(provider=elsewhere)
    settings.PROVIDER_ALLOWED_HOSTS = ["llm.example"]
    assert usable_fallback(owner, models["A"], asked={models["A"].pk}) == models["C"]


# ---------------------------------------------------------------- the command


def add(*arguments: str) -> dict[str, Any]:
    out, err = StringIO(), StringIO()
    try:
        call_command("add_model", *arguments, "--provider", "House", stdout=out, stderr=err)
    except SystemExit:
        return json.loads(err.getvalue())["error"]
    return json.loads(out.getvalue())


def test_the_command_sets_and_takes_back(models: dict[str, AIModel]) -> None:
    shown = add("A", "--model-id", "a", "--fallback", "b", "--first-token-seconds", "30", "--silence-seconds", "60")
    model = AIModel.objects.get(name="A")
    assert (model.fallback, model.first_token_seconds, model.silence_seconds) == (models["B"], 30, 60)
    assert (shown["fallback"], shown["first_token_seconds"], shown["silence_seconds"]) == (str(models["B"].pk), 30, 60)
    assert add("A", "--model-id", "a")["fallback"] == str(models["B"].pk)
    assert add("A", "--model-id", "a", "--fallback", "")["fallback"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fallback", "A"], "its own fallback"),
        (["--fallback", "nobody"], "no model"),
        (["--fallback", "a\0"], "can't be stored"),
        (["--first-token-seconds", "0"], "At least 1 second"),
        (["--silence-seconds", "3601"], "At most 3600 seconds"),
        (["--silence-seconds", "soon"], "integer"),
    ],
)
def test_the_command_refuses_and_saves_nothing(models: dict[str, AIModel], arguments: list[str], words: str) -> None:
    assert words in add("A", "--model-id", "changed", *arguments)["message"]
    assert AIModel.objects.get(name="A").model_id == "a"
