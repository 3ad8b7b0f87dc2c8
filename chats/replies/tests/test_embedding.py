"""Vectors by a provider: made while documents are read, made good after an outage, made anew for another embedder."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from http.client import HTTPConnection
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from accounts.services import create_api_key
from chats import doorbell
from chats.catalog.models import AIModel, Price
from chats.errors import Conflict, Invalid
from chats.knowledge import choosing, hits
from chats.knowledge.models import Chunk, Document, DocumentVersion, Embedder, Embedding
from chats.knowledge.services import add_document, delete_document
from chats.knowledge.vectors import Gap, store
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.replies.embedding import choose_embedder
from chats.replies.retrieval import DocumentUse
from chats.usage.models import UsageRecord
from config.tests.live import LiveServer, wait_until

MEANINGS = [{"automobile", "car"}, {"refund", "money"}, {"hound", "dog"}, {"number", "paragraph"}]
CARS = "An automobile must be parked behind the house."
DOGS = "Every hound is fed at noon."
LONG = "\n\n".join(f"Paragraph {number} is about the number {number} and little else." for number in range(300))
SECONDS = 20


def meaning_of(text: str) -> list[float]:
    """A vector near those of texts that mean the same in other words."""
    words = set(text.lower().replace(".", " ").replace("?", " ").split())
    return [0.01, *(float(bool(words & meaning)) for meaning in MEANINGS)]


@pytest.fixture(autouse=True)
def _quick(settings) -> None:
    settings.EMBEDDING_PAUSE_SECONDS = 0.05
    settings.PROVIDER_RETRIES = 0


@pytest.fixture
def embedding_model(live: LiveServer, openai_model: AIModel, fake_provider: FakeProvider) -> AIModel:
    """A model of the fake provider that knows some synonyms, at 0.02 USD per million tokens."""
    model = AIModel.objects.create(
        provider=openai_model.provider, name="Meanings", model_id="embed-1", enabled=True, kind=AIModel.Kind.EMBEDDING
    )
    Price.objects.create(model=model, input_per_million="0.02", output_per_million="0")
    fake_provider.script("embed-1", Script(vector_of=meaning_of))
    return model


@pytest.fixture
def chosen(embedding_model: AIModel, staff: User) -> Embedder:
    """The embedder of that model, in force."""
    embedder = choose_embedder(staff, embedding_model).embedder
    wait_for_takeover(embedder)
    return embedder


def wait_for_takeover(embedder: Embedder) -> None:
    active = Embedder.objects.filter(pk=embedder.pk, state=Embedder.State.ACTIVE)
    wait_until(active.exists, seconds=SECONDS, what="the embedder has taken over")


def wait_for_vectors(embedder: Embedder) -> None:
    wait_until(lambda: has_all(embedder), seconds=SECONDS, what="every chunk has its vector")


def has_all(embedder: Embedder) -> bool:
    made = Embedding.objects.filter(embedder=embedder).aggregate(sum=Sum("count"))["sum"]
    return made == Chunk.objects.count() and not DocumentVersion.objects.filter(lacks_vectors=True).exists()


def upload(user: User, text: str, name: str = "notes.txt") -> Document:
    """Once it is ready."""
    document, _ = add_document(user, ContentFile(text.encode(), name=name))
    unfinished = document.versions.exclude(status__in=["ready", "failed"])
    wait_until(lambda: not unfinished.exists(), seconds=SECONDS, what="the document is read")
    assert document.versions.get().status == "ready"
    return document


Search = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def search(live: LiveServer, owner: User) -> Search:
    """`search(query)`: what the API finds for the owner."""
    _, secret = create_api_key(owner, name="program")
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def make(query: str, **fields: Any) -> list[dict[str, Any]]:
        with closing(HTTPConnection(urlsplit(live.base_url).netloc, timeout=20)) as connection:
            connection.request("POST", "/api/v1/documents/search/", json.dumps({"query": query, **fields}), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, answer
            found: list[dict[str, Any]] = answer["results"]
            return found

    return make


def names_of(found: list[dict[str, Any]]) -> list[str]:
    return [passage["name"] for passage in found]


# ---------------------------------------------------------------- documents and questions
def test_what_means_the_same_is_found_in_other_words(chosen: Embedder, owner: User, search: Search) -> None:
    upload(owner, CARS, "cars.txt")
    upload(owner, DOGS, "dogs.txt")

    assert names_of(search("Where does my car go?", limit=1)) == ["cars.txt"]
    assert names_of(search("When does the dog eat?", limit=1)) == ["dogs.txt"]
    assert has_all(chosen), "they were there when the documents were ready"


def test_an_answer_is_given_passages_by_meaning(chosen: Embedder, owner: User, say, ended) -> None:
    upload(owner, CARS, "cars.txt")
    upload(owner, DOGS, "dogs.txt")

    reply = ended(say("Where does my car go?", use_documents=DocumentUse(is_on=True, limit=1)))

    assert [source["name"] for source in reply.message.sources] == ["cars.txt"]


def test_every_call_is_booked_for_whom_it_was_made(chosen: Embedder, owner: User, staff: User, say, ended) -> None:
    upload(owner, CARS, "cars.txt")
    reply = ended(say("Where does my car go?", use_documents=DocumentUse(is_on=True)))

    booked = UsageRecord.objects.filter(purpose=UsageRecord.Purpose.EMBEDDING).order_by("pk")
    trial, document, question = booked
    assert (trial.user, document.user, question.user) == (staff, owner, owner)
    assert (document.chat_id, question.chat_id) == (None, reply.chat_id)
    words = len(["cars", *CARS.split()])
    assert (document.input_tokens, document.output_tokens, document.is_estimated) == (words, 0, False)
    assert document.cost == Decimal("0.02") * words / 1_000_000
    assert (document.model_name, document.provider_name) == ("Meanings", "Fake provider")


def test_what_a_provider_does_not_count_is_estimated(
    chosen: Embedder, owner: User, fake_provider: FakeProvider
) -> None:
    fake_provider.script("embed-1", Script(vector_of=meaning_of, usage=None))
    upload(owner, CARS)

    record = UsageRecord.objects.filter(purpose=UsageRecord.Purpose.EMBEDDING).latest("pk")
    assert record.is_estimated
    assert record.input_tokens > 5


def test_prefixes_and_settings_go_where_they_belong(
    embedding_model: AIModel, staff: User, owner: User, fake_provider: FakeProvider, search: Search
) -> None:
    AIModel.objects.filter(pk=embedding_model.pk).update(default_settings={"dimensions": 5})
    embedding_model.refresh_from_db()
    wait_for_takeover(choose_embedder(staff, embedding_model, query_prefix="query: ", text_prefix="passage: ").embedder)
    upload(owner, CARS, "cars.txt")
    search("car")

    *_, document, question = (received.body for received in fake_provider.requests)
    assert document == {"model": "embed-1", "input": [f"passage: cars\n{CARS}"], "dimensions": 5}
    assert question == {"model": "embed-1", "input": ["query: car"], "dimensions": 5}


# ---------------------------------------------------------------- trouble
def test_while_the_provider_is_away_documents_are_found_by_words_and_later_by_meaning(
    chosen: Embedder, owner: User, fake_provider: FakeProvider, search: Search
) -> None:
    fake_provider.script("embed-1", Script(status=500))
    upload(owner, CARS, "cars.txt")

    assert names_of(search("automobile")) == ["cars.txt"]
    chosen.refresh_from_db()
    assert "500" in chosen.error
    fake_provider.script("embed-1", Script(vector_of=meaning_of))

    wait_for_vectors(chosen)
    assert names_of(search("Where does my car go?")) == ["cars.txt"]
    chosen.refresh_from_db()
    assert chosen.error == ""


def test_a_question_does_not_wait_long_for_its_vector(
    chosen: Embedder, owner: User, fake_provider: FakeProvider, search: Search, settings
) -> None:
    upload(owner, CARS, "cars.txt")
    settings.EMBEDDING_QUERY_SECONDS = 0.2
    fake_provider.script("embed-1", Script(hang=True))

    began = time.monotonic()
    assert names_of(search("automobile")) == ["cars.txt"]
    assert time.monotonic() - began < 5
    assert fake_provider.wait_closed(1)


def test_a_server_that_takes_fewer_texts_at_once_gets_fewer(
    chosen: Embedder, owner: User, fake_provider: FakeProvider
) -> None:
    few = Script(vector_of=meaning_of, texts_max=5)
    fake_provider.script("embed-1", few)
    upload(owner, LONG)

    wait_for_vectors(chosen)
    first_calls = len(fake_provider.requests)
    upload(owner, LONG + " ", "again.txt")
    wait_for_vectors(chosen)
    sizes = [len(received.body["input"]) for received in fake_provider.requests[first_calls:]]
    assert max(sizes) <= 5, "it is asked for so many at once no more"


def test_a_text_the_model_refuses_costs_the_others_nothing(
    chosen: Embedder, owner: User, fake_provider: FakeProvider, search: Search
) -> None:
    fake_provider.script("embed-1", Script(vector_of=meaning_of, texts_max_words=40))
    words = " ".join(f"long{number}" for number in range(60))
    upload(owner, f"{DOGS}\n\n# One\n\n{words}\n\n# Two\n\n{CARS}", "mixed.md")

    wait_for_vectors(chosen)
    assert "automobile" in search("Where does my car go?", limit=1)[0]["text"]
    assert Embedder.objects.get(pk=chosen.pk).error == ""


def test_a_model_that_makes_other_vectors_than_before_is_not_believed(
    chosen: Embedder, owner: User, fake_provider: FakeProvider, search: Search
) -> None:
    fake_provider.script("embed-1", Script(vector_of=lambda _: [1.0, 2.0]))
    upload(owner, CARS, "cars.txt")

    assert names_of(search("automobile")) == ["cars.txt"]
    assert "vectors of 2 numbers now" in Embedder.objects.get(pk=chosen.pk).error
    assert not Embedding.objects.filter(embedder=chosen).exists()


@pytest.mark.parametrize("change", [{"enabled": False}, {"kind": "chat"}, {"model_id": "embed-2"}])
def test_a_model_that_staff_switched_off_or_changed_is_not_asked(
    chosen: Embedder,
    owner: User,
    fake_provider: FakeProvider,
    search: Search,
    change: dict[str, Any],
) -> None:
    AIModel.objects.filter(pk=chosen.ai_model_id).update(**change)
    asked = len(fake_provider.requests)
    upload(owner, CARS, "cars.txt")

    assert names_of(search("automobile")) == ["cars.txt"]
    assert len(fake_provider.requests) == asked
    assert Embedder.objects.get(pk=chosen.pk).error


def test_a_deleted_document_needs_no_vectors_any_more(
    chosen: Embedder, owner: User, fake_provider: FakeProvider
) -> None:
    fake_provider.script("embed-1", Script(status=500))
    document = upload(owner, CARS)
    delete_document(document)
    fake_provider.script("embed-1", Script(vector_of=meaning_of))

    wait_until(lambda: not Document.objects.exists(), seconds=SECONDS, what="it is gone")
    assert not Embedding.objects.exists()


def test_what_a_dead_server_had_half_done_is_done_by_another(chosen: Embedder, owner: User) -> None:
    document = upload(owner, LONG)
    rows = Embedding.objects.filter(embedder=chosen)
    rows.filter(pk__in=list(rows.values_list("pk", flat=True)[1::2])).delete()
    assert not has_all(chosen)
    Embedder.objects.update(worker="dead", heartbeat_at=timezone.now() - timedelta(hours=1))
    DocumentVersion.objects.filter(document=document).update(lacks_vectors=True)

    doorbell.ring("document", document.pk)

    wait_for_vectors(chosen)
    covered = [place for first, count in rows.values_list("first", "count") for place in range(first, first + count)]
    assert sorted(covered) == list(range(Chunk.objects.count())), "no chunk has two"


def test_what_two_servers_make_at_once_is_kept_once(chosen: Embedder, owner: User) -> None:
    document = upload(owner, LONG)
    rows = Embedding.objects.filter(embedder=chosen)
    made = list(rows.values_list("first", "count"))
    gap = Gap(document.versions.get().pk, owner.pk, document.name, chosen, [0, 1])

    store(gap, [0, 1], np.ones((2, chosen.dimensions), dtype=np.float32))

    assert list(rows.values_list("first", "count")) == made


# ---------------------------------------------------------------- another embedder
@pytest.fixture
def shut(fake_provider: FakeProvider) -> Iterator[Event]:
    """While it is not set, the model answers its trial and nothing else."""
    gate = Event()
    held = Script(vector_of=meaning_of, gate=gate)
    free = Script(vector_of=meaning_of)

    def script_of(texts: list[str]) -> Script:
        return free if texts == [choosing.SAMPLE] else held

    fake_provider.embed_by(script_of)
    yield gate
    gate.set()


def test_until_the_new_one_knows_all_documents_the_old_one_is_asked(
    embedding_model: AIModel, staff: User, owner: User, search: Search, shut: Event
) -> None:
    upload(owner, CARS, "cars.txt")
    upload(owner, LONG, "long.txt")
    old = Embedder.objects.get(state=Embedder.State.ACTIVE)

    new = choose_embedder(staff, embedding_model).embedder
    so_far = choosing.progress(new)
    assert (so_far.documents, so_far.done, so_far.vectors) == (2, 0, 0)
    assert so_far.chunks > 20
    assert names_of(search("automobiles parked", limit=1)) == ["cars.txt"]
    old.refresh_from_db()
    assert (old.state, new.state) == ("active", "preparing")
    late = upload(owner, DOGS, "dogs.txt")
    shut.set()
    wait_for_takeover(new)

    assert late.versions.get().lacks_vectors is False
    assert has_all(new)
    assert names_of(search("When does the dog eat?", limit=1)) == ["dogs.txt"]
    others = Embedding.objects.exclude(embedder=new)
    wait_until(lambda: not others.exists(), seconds=SECONDS, what="the vectors of the old one are gone")
    old.refresh_from_db()
    assert old.state == "retired"
    Embedder.objects.filter(pk=old.pk).update(retired_at=timezone.now() - timedelta(hours=1))
    doorbell.ring("document", old.pk)
    wait_until(lambda: not Embedder.objects.filter(pk=old.pk).exists(), seconds=SECONDS, what="it is gone itself")
    reindexed = UsageRecord.objects.filter(purpose="embedding", user=None)
    assert reindexed.exists(), "that all are read once more is booked for nobody in particular"


@pytest.mark.parametrize(("dimensions", "is_indexed"), [(10, True), (2_500, True), (4_500, False)])
def test_vectors_of_any_length_are_searched(
    embedding_model: AIModel,
    staff: User,
    owner: User,
    fake_provider: FakeProvider,
    search: Search,
    *,
    monkeypatch: pytest.MonkeyPatch,
    dimensions: int,
    is_indexed: bool,
) -> None:
    monkeypatch.setattr(hits, "EXACT_MAX", 0)
    zeros = [0.0] * (dimensions - len(MEANINGS) - 1)
    fake_provider.script("embed-1", Script(vector_of=lambda text: meaning_of(text) + zeros))
    wait_for_takeover(choose_embedder(staff, embedding_model).embedder)
    upload(owner, CARS, "cars.txt")
    upload(owner, DOGS, "dogs.txt")

    assert names_of(search("Where does my car go?", limit=1)) == ["cars.txt"]
    if hits.has_vector_column():
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"knowledge_embedding_{dimensions}"])
            assert cursor.fetchone() == (is_indexed,)


def test_a_choice_can_be_taken_back_before_it_is_in_force(
    embedding_model: AIModel, staff: User, owner: User, search: Search, shut: Event
) -> None:
    upload(owner, CARS, "cars.txt")
    new = choose_embedder(staff, embedding_model).embedder

    choosing.give_up(new)
    shut.set()

    vectors = Embedding.objects.filter(embedder=new)
    wait_until(lambda: not vectors.exists(), seconds=SECONDS, what="its vectors are gone")
    assert names_of(search("automobile")) == ["cars.txt"]
    wait_for_vectors(Embedder.objects.get(state=Embedder.State.ACTIVE))


def test_the_one_in_force_can_not_be_taken_back_or_chosen_again(chosen: Embedder, staff: User) -> None:
    with pytest.raises(Conflict):
        choosing.give_up(chosen)
    with pytest.raises(Conflict):
        choose_embedder(staff, chosen.ai_model)


def test_back_to_the_built_in_one(chosen: Embedder, owner: User, search: Search) -> None:
    upload(owner, LONG, "long.txt")

    builtin = choosing.choose_local(Embedder.Kind.BUILTIN)
    wait_for_takeover(builtin)

    assert has_all(builtin)
    assert "217" in search("number 217", limit=1)[0]["text"]


@pytest.mark.parametrize("is_off", [True, False])
def test_a_provider_that_is_gone_does_not_keep_another_from_taking_over(
    chosen: Embedder, owner: User, fake_provider: FakeProvider, search: Search, *, is_off: bool
) -> None:
    upload(owner, CARS, "cars.txt")
    fake_provider.script("embed-1", Script(status=500))
    if is_off:
        AIModel.objects.filter(pk=chosen.ai_model_id).update(enabled=False)
    upload(owner, DOGS, "dogs.txt")
    wait_until(lambda: Embedder.objects.get(pk=chosen.pk).error, seconds=SECONDS, what="it has failed")

    builtin = choosing.choose_local(Embedder.Kind.BUILTIN)

    wait_for_takeover(builtin)
    wait_for_vectors(builtin)
    assert names_of(search("hounds", limit=1, documents=[])) == ["dogs.txt"]


@pytest.mark.parametrize("script", [Script(status=401), Script(body={"data": []}), Script(drop_before=True)])
def test_one_that_does_not_answer_is_not_chosen(
    embedding_model: AIModel, staff: User, fake_provider: FakeProvider, script: Script
) -> None:
    fake_provider.script("embed-1", script)

    with pytest.raises(Invalid):
        choose_embedder(staff, embedding_model)
    assert not Embedder.objects.filter(kind=Embedder.Kind.PROVIDER).exists()
