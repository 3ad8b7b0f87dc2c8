"""Answers from documents: what the model is told, what people see of the sources, and what a chat remembers."""

import json
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile

from accounts.models import User
from accounts.services import create_api_key
from chats.branches import fork_chat
from chats.knowledge.models import Document, DocumentVersion
from chats.knowledge.services import add_document, delete_document
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Chat, Message, Reply
from chats.services import create_chat
from config.tests.live import LiveServer, wait_until
from config.tests.threads import in_thread

MANUAL = "# Weather station\n\nThe battery lasts 24 months in normal use.\n\nClean the rain gauge with a soft brush.\n"
TERMS = "# Terms\n\nRefunds are paid within 14 days to the card that was used.\n"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def shelf(live: LiveServer, owner: User) -> list[Document]:
    """Two documents of the owner, read by the engine."""
    made = [
        add_document(owner, ContentFile(text.encode(), name=name))[0]
        for name, text in (("manual.md", MANUAL), ("terms.md", TERMS))
    ]
    unfinished = DocumentVersion.objects.exclude(status__in=["ready", "failed"])
    wait_until(lambda: not unfinished.exists(), seconds=20, what="the documents are read")
    return made


@pytest.fixture
def ask(live: LiveServer, owner: User) -> Ask:
    """`ask(message=…)`: POST /api/v1/chat/, and its answer."""
    return asker(live, owner)


def asker(live: LiveServer, user: User) -> Ask:
    _, secret = create_api_key(user, name="program")
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def make(status: int = 200, **body: Any) -> dict[str, Any]:
        with closing(HTTPConnection(urlsplit(live.base_url).netloc, timeout=20)) as connection:
            connection.request("POST", "/api/v1/chat/", json.dumps(body), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            assert response.status == status, answer
            return answer

    return make


def told(fake_provider: FakeProvider) -> list[dict[str, Any]]:
    """The messages of the last request."""
    return list(fake_provider.requests[-1].body["messages"])


@pytest.mark.django_db(transaction=True)
def test_the_demo_quotes_and_cites(shelf, ask, demo_model):
    answer = ask(message="How long does the battery last?", use_rag=True, model=str(demo_model.pk))
    message = answer["message"]
    assert "> The battery lasts 24 months in normal use. [1]" in message["content"]
    source = message["sources"][0]
    assert (source["document"], source["name"], source["number"]) == (str(shelf[0].pk), "manual.md", 1)
    text = shelf[0].versions.get().extracted.text
    assert "battery lasts 24 months" in text[source["start"] : source["end"]]


@pytest.mark.django_db(transaction=True)
def test_a_model_is_told_of_the_passages_and_answers_with_true_markers(shelf, ask, openai_model, fake_provider):
    fake_provider.script("fake-1", Script(chunks=["It lasts 24 mon", "ths [", "1]. Not", "hing says so [7", "]."]))
    answer = ask(message="How long does the battery last?", use_rag=True, limit=3, model=str(openai_model.pk))
    assert answer["message"]["content"] == "It lasts 24 months [1]. Nothing says so."
    first, *_, last = told(fake_provider)
    assert first["role"] == "system"
    assert '<passage number="1" document="manual.md' in last["content"]
    assert last["content"].endswith("How long does the battery last?")
    # What people said is stored as they said it.
    assert Message.objects.get(role="user").content == "How long does the battery last?"


@pytest.mark.django_db(transaction=True)
def test_without_use_rag_nothing_is_looked_for(shelf, ask, openai_model, fake_provider):
    answer = ask(message="How long does the battery last?", model=str(openai_model.pk))
    assert answer["message"]["sources"] == []
    assert told(fake_provider) == [{"role": "user", "content": "How long does the battery last?"}]


@pytest.mark.django_db(transaction=True)
def test_a_chat_goes_on_as_it_was_asked_to_until_it_is_told_otherwise(shelf, owner, ask, openai_model):
    chat = ask(message="Battery?", use_rag=True, model=str(openai_model.pk))["chat"]
    assert Chat.objects.get(pk=chat).retrieval == {"limit": 8, "documents": []}
    fork, _ = fork_chat(owner, Chat.objects.get(pk=chat).current_leaf)
    assert fork.retrieval == {"limit": 8, "documents": []}
    assert ask(message="And refunds, when are they paid?", chat=chat)["message"]["sources"]
    assert ask(message="How long does the battery last?", chat=chat, use_rag=False)["message"]["sources"] == []
    assert ask(message="How long does the battery last?", chat=chat)["message"]["sources"] == []


@pytest.mark.django_db(transaction=True)
def test_a_short_question_leans_on_the_one_before(shelf, ask, openai_model):
    chat = ask(message="What about refunds to my card?", use_rag=True, model=str(openai_model.pk))["chat"]
    sources = ask(message="When?", chat=chat)["message"]["sources"]
    assert sources[0]["name"] == "terms.md"


@pytest.mark.django_db(transaction=True)
def test_only_the_documents_that_were_chosen(shelf, ask, openai_model):
    answer = ask(message="battery and refunds", use_rag=True, documents=[str(shelf[1].pk)], model=str(openai_model.pk))
    assert {source["name"] for source in answer["message"]["sources"]} == {"terms.md"}


@pytest.mark.django_db(transaction=True)
def test_what_was_deleted_is_told_to_no_model(shelf, ask, openai_model, fake_provider):
    for document in shelf:
        delete_document(document)
    answer = ask(message="How long does the battery last?", use_rag=True, model=str(openai_model.pk))
    assert answer["message"]["sources"] == []
    assert "24 months" not in json.dumps(told(fake_provider))
    assert "found nothing" in told(fake_provider)[0]["content"]


@pytest.mark.django_db(transaction=True)
def test_nobody_is_answered_from_the_documents_of_another(shelf, live, stranger, openai_model, fake_provider):
    ask = asker(live, stranger)
    refused = ask(status=404, message="battery", use_rag=True, documents=[str(shelf[0].pk)])
    missing = ask(status=404, message="battery", use_rag=True, documents=[str(uuid4())])
    assert refused["error"]["message"] == missing["error"]["message"]
    assert not Message.objects.filter(chat__user=stranger).exists()
    answer = ask(message="How long does the battery last?", use_rag=True, model=str(openai_model.pk))
    assert answer["message"]["sources"] == []
    assert "24 months" not in json.dumps(told(fake_provider))


@pytest.mark.parametrize("limit", [0, -1, 11, 10**9, "3", 1.5, True])
@pytest.mark.django_db(transaction=True)
def test_a_limit_out_of_range_is_refused(live, ask, limit):
    assert "limit" in ask(status=400, message="x", use_rag=True, limit=limit)["error"]["fields"]


@pytest.mark.django_db(transaction=True)
def test_the_same_client_id_with_another_way_of_using_documents_is_a_conflict(shelf, ask, demo_model):
    once = {"message": "Battery?", "client_id": "same", "use_rag": True}
    first, again = ask(**once), ask(**once)
    assert first["reply"]["id"] == again["reply"]["id"]
    assert ask(status=409, **{**once, "use_rag": False})["error"]["code"] == "conflict"


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_is_taken_over_keeps_the_sources_it_began_with(shelf, owner, openai_model, fake_provider):
    """What was found is in the row before the first word: the next attempt must not number other passages."""
    chat = Chat.objects.create(user=owner, model=openai_model, retrieval={"limit": 3, "documents": []})
    question = Message.objects.create(chat=chat, role="user", content="How long does the battery last?")
    kept = [{"number": 1, "name": "kept.md", "page": None, "heading": "", "text": "Kept words."}]
    answer = Message.objects.create(chat=chat, role="assistant", parent=question, sources=kept)
    stale = {"status": "running", "attempt": 1, "worker": "dead", "heartbeat_at": "2000-01-01T00:00:00Z"}
    reply = Reply.objects.create(
        chat=chat,
        user=owner,
        prompt=question,
        message=answer,
        model=openai_model,
        retrieval=chat.retrieval,
        **stale,
    )
    wait_until(lambda: Reply.objects.get(pk=reply.pk).is_finished, seconds=20, what="the reply is taken over")
    answer.refresh_from_db()
    assert answer.sources == kept
    assert "Kept words." in json.dumps(told(fake_provider))


@pytest.mark.django_db(transaction=True)
async def test_viewers_are_told_of_the_sources_before_the_first_word(shelf, owner, openai_model, open_socket):
    chat = await in_thread(lambda: create_chat(owner, model=openai_model))
    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="How long does the battery last?", use_rag=True, limit=2)
        events = await socket.receive_until("reply.finished")
    kinds = [event["type"] for event in events if "seq" in event]
    assert kinds.index("sources.found") < kinds.index("text.delta")
    sources = next(event["sources"] for event in events if event["type"] == "sources.found")
    assert [source["number"] for source in sources] == [1, 2]
    assert "24 months" in sources[0]["text"]
    assert events[-1]["message"]["sources"][0]["document"] == str(shelf[0].pk)
