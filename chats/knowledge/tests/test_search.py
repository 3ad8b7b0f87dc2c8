"""What a search finds, and whose: by words, by nearness, in a place; nothing that is deleted, replaced or half read."""

from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from chats.knowledge import hashing, hits, indexing
from chats.knowledge.models import Chunk, Document, DocumentVersion
from chats.knowledge.search import Scope, search_chunks
from chats.knowledge.services import add_document, add_version, delete_document
from chats.knowledge.tests.library import index_next, shelve

pytestmark = pytest.mark.django_db

MANUAL = [
    "The battery of the weather station lasts 24 months in normal use.",
    "Clean the rain gauge with water and a soft brush, never with solvents.",
    "The display shows wind speed in metres a second.",
]
TERMS = [
    "Refunds are paid within 14 days to the card that was used.",
    "A warranty claim needs the serial number HX-4471.",
]
GERMAN = ["Die Batterielaufzeit beträgt zwei Jahre.", "Erstattungen dauern vierzehn Tage."]


@pytest.fixture
def library(owner):
    return [
        shelve(owner, "manual.txt", MANUAL),
        shelve(owner, "terms.txt", TERMS),
        shelve(owner, "anleitung.txt", GERMAN),
    ]


def first(user, query, **options):
    found = search_chunks(user, query, limit=4, **options)
    return found[0].text if found else ""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("How long does the battery last?", MANUAL[0]),
        ("refund", TERMS[0]),
        ("refunding my card", TERMS[0]),
        ("HX-4471", TERMS[1]),
        ("hx 4471", TERMS[1]),
        ("Erstattung", GERMAN[1]),
        ("Wie lang sind Batterielaufzeiten?", GERMAN[0]),
        ("solvent", MANUAL[1]),
    ],
)
@pytest.mark.parametrize("ways", [("text",), ("text", "vector")], ids=["words", "both"])
def test_the_passage_that_answers_comes_first(owner, library, query, expected, ways):
    assert expected in first(owner, query, ways=ways)


def test_nearness_finds_what_shares_parts_of_words(owner, library):
    assert first(owner, "Batterien", ways=["vector"]).startswith("Die Batterielaufzeit")
    assert search_chunks(owner, "Batterielaufzeitmessung", limit=4, ways=["text"]) == []
    assert "Batterielaufzeit" in first(owner, "Batterielaufzeitmessung")


def test_a_passage_names_its_document_and_place(owner, library):
    passage = search_chunks(owner, "serial number for the warranty", limit=1)[0]
    assert (passage.document, passage.name, passage.number) == (library[1].pk, "terms.txt", 1)
    assert (passage.start, passage.end) == (len(TERMS[0]) + 2, len(TERMS[0]) + 2 + len(TERMS[1]))
    assert 0 < passage.score <= 1


# Letters that are spread into a blank and a sign, or into nothing.
ODD_WORDS = ["ab\ufe70 cd", "hello \uff9e there", "\ufdfa", "\ufdfb \u037a", "\ufc5e\ufc63"]


@pytest.mark.parametrize("word", ODD_WORDS)
def test_any_text_may_be_indexed(owner, word):
    shelve(owner, "odd.txt", [f"{word} zeppelin"])
    assert "zeppelin" in first(owner, "zeppelin")


@pytest.mark.parametrize(
    "query", ["", "   ", "\x00", "'", '"', "') OR 1=1 --", "a" * 5_000, "the", "*", "AND OR NOT", "💥", *ODD_WORDS]
)
def test_any_text_may_be_searched_for(owner, library, query):
    assert isinstance(search_chunks(owner, query, limit=4), list)


def test_nobody_finds_what_is_another_s(owner, stranger, library):
    shelve(stranger, "mine.txt", ["The battery is mine."])
    assert {passage.name for passage in search_chunks(stranger, "battery refund Batterie", limit=10)} == {"mine.txt"}
    assert search_chunks(stranger, "battery", limit=10, scope=Scope(documents=[library[0].pk])) == []


def test_a_chosen_document_is_found_behind_any_number_of_better_ones(owner):
    """The place is looked at last, but the best of the person alone are not all there is."""
    shelve(owner, "many.txt", [f"station station {number}" for number in range(1_600)])
    chosen = shelve(owner, "one.txt", ["There is a station among very many other words of no importance here."])
    found = search_chunks(owner, "station", limit=4, scope=Scope(documents=[chosen.pk]), ways=["text"])
    assert [passage.name for passage in found] == ["one.txt"]


def test_what_others_have_does_not_change_what_one_finds(owner, stranger):
    shelve(owner, "mine.txt", ["The station is closed."])
    shelve(stranger, "theirs.txt", [f"The station has number {number}." for number in range(1_600)])
    found = search_chunks(owner, "zeppelin station", limit=4, ways=["text"])
    assert [passage.name for passage in found] == ["mine.txt"]


def test_what_others_have_does_not_change_the_order_of_what_one_finds(owner, stranger):
    """Else whoever searches for two words learns which of them is frequent among the documents of others."""
    shelve(owner, "first.txt", ["A note about the zeppelin and little else."])
    shelve(owner, "second.txt", ["A note about the station and little else."])
    before = [passage.name for passage in search_chunks(owner, "zeppelin station", limit=2, ways=["text"])]
    for word in ("zeppelin", "station"):
        for number in range(3):
            shelve(stranger, f"{word}{number}.txt", [f"The {word} has number {number}."])
        after = [passage.name for passage in search_chunks(owner, "zeppelin station", limit=2, ways=["text"])]
        assert after == before


def test_a_deleted_document_is_found_no_more_and_leaves_nothing(owner, library):
    delete_document(library[0])
    assert "battery of" not in first(owner, "How long does the battery last?")
    while indexing.purge_some():
        pass
    assert not Document.objects.filter(pk=library[0].pk).exists()
    assert Chunk.objects.count() == len(TERMS) + len(GERMAN)


def test_what_is_half_read_is_not_found(owner, library):
    add_document(owner, ContentFile(b"zeppelin", name="new.txt"))
    reading = indexing.claim_next("test")
    part = indexing.Part(0, 0, 8, None, "", "zeppelin", "zeppelin")
    indexing.store_parts(reading, [part], hashing.embed(["zeppelin"]), done=1, total=2)
    assert "zeppelin" not in first(owner, "zeppelin")
    indexing.finish(reading, chunk_count=1)
    assert "zeppelin" in first(owner, "zeppelin")


def test_a_new_version_takes_the_place_of_the_old_one_when_it_is_ready(owner, library):
    add_version(library[0], ContentFile(b"new manual", name="manual2.txt"))
    assert "24 months" in first(owner, "How long does the battery last?")
    index_next(["The battery of the weather station lasts 36 months."])
    assert "36 months" in first(owner, "How long does the battery last?")
    assert "24 months" not in " ".join(p.text for p in search_chunks(owner, "battery months", limit=10))
    while indexing.purge_some():
        pass
    old = DocumentVersion.objects.get(document=library[0], number=1)
    assert "24 months" in old.extracted.text
    assert not old.chunks.exists()


def test_neighbours_are_one_passage(owner):
    shelve(
        owner, "long.txt", ["Alpha is the first letter.", "Beta follows alpha.", "Nothing here.", "Unrelated words."]
    )
    found = search_chunks(owner, "alpha letter beta", limit=4, ways=["text"])
    assert [passage.text for passage in found] == ["Alpha is the first letter.\n\nBeta follows alpha."]


def test_no_document_has_more_than_half_of_the_passages(owner):
    filler = "Something else entirely about gardens."
    shelve(owner, "big.txt", [text for n in range(12) for text in (f"Orchid number {n} blooms.", filler)])
    shelve(owner, "small.txt", ["An orchid needs light and a little water each week in its pot."])
    found = search_chunks(owner, "orchid", limit=6, ways=["text"])
    names = [passage.name for passage in found]
    assert names.count("big.txt") == 3
    assert "small.txt" in names


def test_a_place_has_its_own_documents_and_those_of_everywhere(owner):
    chat = uuid4()
    everywhere = shelve(owner, "everywhere.txt", ["A walrus swims everywhere."])
    shelve(owner, "work.txt", ["A walrus works."], space="work")
    shelve(owner, "chat.txt", ["A walrus chats."], chat=chat)

    def names(scope):
        return {passage.name for passage in search_chunks(owner, "walrus", limit=10, scope=scope)}

    assert names(Scope()) == {"everywhere.txt", "work.txt", "chat.txt"}
    assert names(Scope(space="work")) == {"everywhere.txt", "work.txt"}
    assert names(Scope(space="default", chat=chat)) == {"everywhere.txt", "chat.txt"}
    assert names(Scope(space="default", chat=uuid4())) == {"everywhere.txt"}
    assert names(Scope(documents=[everywhere.pk])) == {"everywhere.txt"}


def test_many_vectors_are_searched_as_few_are(owner, monkeypatch):
    """Beyond EXACT_MAX of them PostgreSQL asks its index."""
    for number in range(8):
        shelve(owner, f"doc{number}.txt", [f"Subject {number} and {text}" for text in MANUAL])
    # As many as fit the question alike: which of them an index finds first is chance.
    expected = search_chunks(owner, "rain gauge solvents", limit=8, ways=["vector"])
    monkeypatch.setattr(hits, "EXACT_MAX", 3)
    with CaptureQueriesContext(connection) as asked:
        found = search_chunks(owner, "rain gauge solvents", limit=8, ways=["vector"])
    if hits.has_vector_column():
        (nearest,) = (query["sql"] for query in asked if "distance" in query["sql"])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("EXPLAIN " + nearest.replace("%", "%%"))
            assert "knowledge_embedding_512" in str(cursor.fetchall()), "its index can be used for this query"
    assert {passage.text for passage in found} == {passage.text for passage in expected}
