"""Which model a person gets when they name one, and when they don't."""

import pytest
from django.contrib.auth.models import Group
from django.test import override_settings

from accounts.models import User
from chats.catalog.models import AIModel, Provider
from chats.catalog.services import target_of, usable_model
from chats.errors import ModelUnavailable


@pytest.fixture
def provider(db: None) -> Provider:
    return Provider.objects.create(name="House", base_url="http://llm.example:8000/v1", api_key="sk-house-secret")


@pytest.fixture
def model(provider: Provider) -> AIModel:
    return AIModel.objects.create(provider=provider, name="House large", model_id="large-1", enabled=True, order=10)


@pytest.mark.parametrize("field", ["pk", "name", "model_id"])
def test_a_model_is_found_by_id_name_or_model_id(owner: User, model: AIModel, field: str) -> None:
    assert usable_model(owner, str(getattr(model, field))) == model


@pytest.mark.parametrize("field", ["pk", "name", "model_id"])
def test_a_model_for_embeddings_answers_nobody(owner: User, model: AIModel, field: str) -> None:
    AIModel.objects.filter(pk=model.pk).update(kind=AIModel.Kind.EMBEDDING)
    with pytest.raises(ModelUnavailable):
        usable_model(owner, str(getattr(model, field)))
    assert model not in AIModel.objects.visible_to(owner)


def test_without_a_name_the_first_by_order_is_meant(owner: User, model: AIModel, demo_model: AIModel) -> None:
    assert usable_model(owner, None) == model


def test_the_demo_is_what_is_left_when_nothing_else_is_enabled(owner: User, demo_model: AIModel) -> None:
    assert usable_model(owner, None) == demo_model


def test_a_name_that_several_providers_use_means_the_first_by_order(
    owner: User, model: AIModel, provider: Provider
) -> None:
    other = Provider.objects.create(name="Other", base_url="http://other.example/v1")
    first = AIModel.objects.create(provider=other, name=model.name, model_id="x", enabled=True, order=model.order - 1)
    assert usable_model(owner, model.name) == first


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "nothing",
        "x" * 5_000,
        "a\0b",
        "\ud800",
        "٣" * 32,
        "\u202e👩‍👩‍👧",
        "' OR 1=1 --",
        "018f0000-0000-7000-8000-000000000000",
        "{" * 40,
    ],
)
def test_a_malformed_or_unknown_reference_is_just_not_available(owner: User, model: AIModel, reference: str) -> None:
    with pytest.raises(ModelUnavailable, match="Model not available"):
        usable_model(owner, reference)


def test_disabled_forbidden_and_missing_look_alike(owner: User, model: AIModel, provider: Provider) -> None:
    def refusal() -> str:
        with pytest.raises(ModelUnavailable) as caught:
            usable_model(owner, model.name)
        return str(caught.value)

    AIModel.objects.update(enabled=False)
    disabled = refusal()
    AIModel.objects.update(enabled=True)
    Provider.objects.update(enabled=False)
    off = refusal()
    Provider.objects.update(enabled=True)
    model.groups.add(Group.objects.create(name="Research"))
    forbidden = refusal()
    model.delete()
    assert {disabled, off, forbidden, refusal()} == {ModelUnavailable.message}


def test_a_model_of_a_group_is_for_its_members(
    owner: User, stranger: User, model: AIModel, demo_model: AIModel
) -> None:
    research = Group.objects.create(name="Research")
    model.groups.add(research, Group.objects.create(name="Sales"))
    owner.groups.add(research)
    assert usable_model(owner, None) == model
    assert usable_model(stranger, None) == demo_model


@override_settings(PROVIDER_ALLOWED_HOSTS=["api.example.org"])
def test_a_provider_the_operator_no_longer_allows_is_not_used(owner: User, model: AIModel, demo_model: AIModel) -> None:
    with pytest.raises(ModelUnavailable):
        usable_model(owner, model.name)
    assert usable_model(owner, demo_model.name) == demo_model


def test_the_target_says_where_a_model_lives_and_keeps_the_key_out_of_sight(model: AIModel) -> None:
    target = target_of(AIModel.objects.get(pk=model.pk))
    assert (target.kind, target.base_url, target.model_id) == ("openai", "http://llm.example:8000/v1", "large-1")
    assert target.api_key == "sk-house-secret"
    assert "sk-house-secret" not in repr(target)
