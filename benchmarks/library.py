"""Searching many chunks of one person, in a process of its own: `python -m benchmarks.library CHUNKS`.

Words are drawn as they stand in real texts, the n-th most frequent one in n-th part (Zipf's law), so that some stand in
most chunks and most in very few. Prints one line of JSON.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from statistics import median

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("UPLOADS_PER_HOUR", "100000")
django.setup()

from django.core.files.base import ContentFile  # noqa: E402 - Django must be set up first
from django.core.management import call_command  # noqa: E402

from accounts.models import User  # noqa: E402
from accounts.services import create_user  # noqa: E402
from chats.knowledge import hashing, indexing  # noqa: E402
from chats.knowledge.search import search_chunks  # noqa: E402
from chats.knowledge.services import add_document  # noqa: E402
from chats.knowledge.terms import terms_of  # noqa: E402

VOCABULARY = 30_000
WORDS = 90  # of a chunk
CHUNKS_OF_DOCUMENT = 1_000
QUERIES = 200
SYLLABLES = ["ba", "co", "der", "el", "fin", "gar", "hol", "in", "jor", "ka", "lum", "mer", "nos", "or", "pel", "qui"]


class Words:
    """Draws words, always the same ones."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        self._words = [
            "".join(self._random.choices(SYLLABLES, k=self._random.randint(2, 5))) for _ in range(VOCABULARY)
        ]
        self._weights = [1 / rank for rank in range(1, VOCABULARY + 1)]

    def text(self, count: int) -> str:
        return " ".join(self._random.choices(self._words, self._weights, k=count))


def fill(user: User, words: Words, *, chunks: int) -> float:
    """Documents of `user` with so many chunks, written as the engine does. Returns the seconds it took."""
    began = time.monotonic()
    for number in range(chunks // CHUNKS_OF_DOCUMENT):
        add_document(user, ContentFile(str(number).encode(), name=f"{number}.txt"))
        reading = indexing.claim_next("bench")
        assert reading is not None
        for batch in indexing_batches(words):
            vectors = hashing.embed([part.text for part in batch])
            indexing.store_parts(reading, batch, vectors, done=batch[-1].index, total=CHUNKS_OF_DOCUMENT)
        indexing.finish(reading, chunk_count=CHUNKS_OF_DOCUMENT)
    return time.monotonic() - began


def indexing_batches(words: Words, size: int = 125) -> Iterator[list[indexing.Part]]:
    for first in range(0, CHUNKS_OF_DOCUMENT, size):
        texts = [words.text(WORDS) for _ in range(size)]
        yield [
            indexing.Part(at, 0, len(text), None, "", text, " ".join(terms_of(text, language="")))
            for at, text in enumerate(texts, first)
        ]


def milliseconds_of(user: User, words: Words, ways: list[str]) -> dict[str, float]:
    waits = []
    for _ in range(QUERIES):
        query = words.text(8)
        began = time.monotonic()
        search_chunks(user, query, limit=8, ways=ways)
        waits.append((time.monotonic() - began) * 1000)
    return {"p50": round(median(waits), 1), "p95": round(sorted(waits)[int(QUERIES * 0.95)], 1)}


def main() -> None:
    call_command("migrate", verbosity=0)
    user = create_user("bench@example.org", password="correct horse battery")
    words = Words()
    seconds = fill(user, words, chunks=int(sys.argv[1]))
    milliseconds_of(user, words, ["text", "vector"])  # as warm as a server that runs
    ways = {"hybrid": ["text", "vector"], "text": ["text"], "vector": ["vector"]}
    found = {name: milliseconds_of(user, words, chosen) for name, chosen in ways.items()}
    print(json.dumps({"fill_seconds": round(seconds), "search_ms": found}))


if __name__ == "__main__":
    main()
