"""Staff choose in the admin what makes vectors of documents."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel, Price
from chats.catalog.services import delete_model
from chats.errors import Conflict
from chats.knowledge.embedders import active_embedder
from chats.knowledge.models import DocumentVersion, Embedder
from chats.knowledge.tests.library import shelve
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.usage.models import UsageRecord

LIST, ADD = reverse("admin:knowledge_embedder_changelist"), reverse("admin:knowledge_embedder_add")


@pytest.fixture
def desk(superuser: User, client_of) -> Client:
    return client_of(superuser)


@pytest.fixture
def model(openai_model: AIModel) -> AIModel:
    made = AIModel.objects.create(
        provider=openai_model.provider, name="Vectors", model_id="embed-1", enabled=True, kind=AIModel.Kind.EMBEDDING
    )
    Price.objects.create(model=made, input_per_million="0.5", output_per_million="0")
    return made


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def choose(desk: Client, model: AIModel | None, **fields: str) -> str:
    return text_of(desk.post(ADD, {"choice": str(model.pk) if model else "builtin", **fields}, follow=True))


def test_only_models_for_embeddings_that_are_on_are_offered(
    desk: Client, model: AIModel, openai_model: AIModel
) -> None:
    page = text_of(desk.get(ADD))
    assert "Vectors (Fake provider)" in page
    assert "Fake model" not in page
    AIModel.objects.filter(pk=model.pk).update(enabled=False)
    assert "Vectors (Fake provider)" not in text_of(desk.get(ADD))


def test_a_choice_is_tried_and_says_what_it_will_cost(desk: Client, model: AIModel, owner: User) -> None:
    document = shelve(owner, "notes.txt", ["The battery lasts 24 months."])
    DocumentVersion.objects.filter(document=document).update(characters=8_000_000)

    page = choose(desk, model, query_prefix="query: ", text_prefix="passage: ")

    assert "about 2,000,000 tokens, about 1 USD" in page
    assert "0 of 1 documents, 0 of 1 parts" in page
    embedder = Embedder.objects.get(state=Embedder.State.PREPARING)
    assert (embedder.dimensions, embedder.query_prefix, embedder.text_prefix) == (64, "query: ", "passage: ")
    assert (embedder.provider, embedder.model_id, embedder.ai_model) == (model.provider, "embed-1", model)
    assert active_embedder().kind == Embedder.Kind.BUILTIN
    assert UsageRecord.objects.get().user == User.objects.get(email="superuser@example.org")
    assert LogEntry.objects.filter(object_id=str(embedder.pk)).exists()


def test_one_that_does_not_answer_is_refused_in_its_own_words(
    desk: Client, model: AIModel, fake_provider: FakeProvider
) -> None:
    fake_provider.script("embed-1", Script(status=404, body={"error": {"message": "No model embed-1"}}))

    page = choose(desk, model, query_prefix="query: ")
    assert "No model embed-1" in page
    assert f'<option value="{model.pk}" selected>' in page, "what was chosen stays in the form"
    assert 'value="query: "' in page
    assert not Embedder.objects.filter(kind=Embedder.Kind.PROVIDER).exists()


def test_the_one_in_force_is_not_chosen_again(desk: Client, model: AIModel) -> None:
    assert "already" in choose(desk, None)
    choose(desk, model)
    Embedder.objects.filter(state=Embedder.State.ACTIVE).retire()
    Embedder.objects.filter(state=Embedder.State.PREPARING).update(state=Embedder.State.ACTIVE)
    assert "already" in choose(desk, model)
    assert UsageRecord.objects.count() == 2, "each trial is booked"


def test_a_second_choice_takes_the_place_of_the_first(desk: Client, model: AIModel) -> None:
    choose(desk, model)
    choose(desk, model, text_prefix="passage: ")

    states = Embedder.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["active", "retired", "preparing"]


def test_a_choice_is_taken_back_by_deleting_it_and_the_one_in_force_stays(desk: Client, model: AIModel) -> None:
    choose(desk, model)
    preparing = Embedder.objects.get(state=Embedder.State.PREPARING)
    active = active_embedder()

    for embedder in (preparing, active):
        desk.post(reverse("admin:knowledge_embedder_delete", args=[embedder.pk]), {"post": "yes"})

    preparing.refresh_from_db()
    active.refresh_from_db()
    assert (preparing.state, active.state) == ("retired", "active")


def test_its_page_shows_it_and_changes_nothing(desk: Client, model: AIModel) -> None:
    choose(desk, model, query_prefix="query: ")
    embedder = Embedder.objects.get(state=Embedder.State.PREPARING)
    url = reverse("admin:knowledge_embedder_change", args=[embedder.pk])

    assert "query: " in text_of(desk.get(url))
    assert desk.post(url, {"query_prefix": "other"}).status_code == 403
    Embedder.objects.filter(pk=embedder.pk).update(error="It is <b>away</b>.")
    assert "It is &lt;b&gt;away&lt;/b&gt;." in text_of(desk.get(LIST))


def test_a_model_that_made_vectors_is_not_deleted(desk: Client, model: AIModel) -> None:
    choose(desk, model)
    with pytest.raises(Conflict):
        delete_model(model)


@pytest.mark.parametrize(
    "fields",
    [{"choice": "x"}, {"choice": ""}, {"choice": "018f0000-0000-7000-8000-000000000000"}],
)
def test_what_is_no_model_is_refused(desk: Client, model: AIModel, fields: dict[str, str]) -> None:
    assert "errorlist" in text_of(desk.post(ADD, fields))
    assert not Embedder.objects.filter(state=Embedder.State.PREPARING).exists()


def test_prefixes_are_short_and_can_be_stored(desk: Client, model: AIModel) -> None:
    assert "at most 500" in text_of(desk.post(ADD, {"choice": str(model.pk), "query_prefix": "x" * 501}))
    assert "Null characters" in text_of(desk.post(ADD, {"choice": str(model.pk), "query_prefix": "a\0b"}))


def test_without_the_right_nothing_is_chosen(staff: User, client_of, model: AIModel) -> None:
    assert client_of(staff).post(ADD, {"choice": str(model.pk)}).status_code == 403
    assert client_of(staff).get(LIST).status_code == 403
