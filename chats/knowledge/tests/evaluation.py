"""How well the golden documents are found: `make eval-rag` prints it, and the suite holds it to thresholds.

A question is answered by a passage that has most of the golden quote. Recall at 5: how many questions have such a
passage among the first five found. Precision of citations: of what the demo's answers cite, how much has the quote.
"""

import asyncio
import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile

from accounts.models import User
from chats.knowledge import indexing
from chats.knowledge.extraction import extract
from chats.knowledge.parts import batches_of
from chats.knowledge.search import BOTH, Passage, search_chunks
from chats.knowledge.services import add_document
from chats.llm import demo_extract
from chats.llm.passages import cited_in
from chats.llm.values import Passage as Told

GOLDEN = Path(__file__).parent / "golden"
LIMIT = 5
# A quote may lie across two chunks; whoever has so much of it has the answer.
ENOUGH = 0.6
WAYS: Mapping[str, Collection[str]] = {"text only": ["text"], "vector only": ["vector"], "hybrid": BOTH}


@dataclass(frozen=True)
class Score:
    """Shares from 0 to 1: questions whose answer is among the first five, or comes first; citations that have it."""

    recall: float
    first: float
    citations: float
    missed: list[str]


def shelve_golden(user: User) -> int:
    """Upload the golden documents for `user`, and read and index each as the engine does. Returns how many."""
    files = sorted((GOLDEN / "documents").iterdir())
    for path in files:
        add_document(user, ContentFile(path.read_bytes(), name=path.name))
        reading = indexing.claim_next("evaluation")
        assert reading is not None
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(extract(path, name=path.name, folder=Path(folder)))
            text = found.text_path.read_text(encoding="utf-8")
            indexing.store_text(reading, kind=found.kind, text=text, pages=found.pages, page_starts=found.page_starts)
            for batch in batches_of(found.chunks_path, text):
                indexing.store_parts(reading, batch.parts, batch.vectors, done=0, total=found.chunks)
        indexing.finish(reading, chunk_count=found.chunks)
    return len(files)


def evaluate(user: User, ways: Collection[str]) -> Score:
    questions: list[dict[str, Any]] = json.loads((GOLDEN / "questions.json").read_text())
    found = first = cited = right = 0
    missed = []
    for question in questions:
        passages = search_chunks(user, question["question"], limit=LIMIT, ways=ways)
        hits = [has_answer(passage, question) for passage in passages]
        found += any(hits)
        first += hits[:1] == [True]
        if not any(hits):
            missed.append(question["id"])
        answer = demo_extract.answer_from(question["question"], [Told(p.name, p.text) for p in passages])
        numbers = cited_in(answer)
        cited += len(numbers)
        right += sum(hits[number - 1] for number in numbers)
    return Score(found / len(questions), first / len(questions), right / max(1, cited), missed)


def has_answer(passage: Passage, question: Mapping[str, str]) -> bool:
    if passage.name != question["document"]:
        return False
    quote, text = _words(question["passage"]), _words(passage.text)
    if passage.name.endswith(".csv"):
        # Between the values of a row stand the names of its columns now.
        return set(quote) <= set(text)
    enough = int(len(quote) * ENOUGH)
    return any(" ".join(part) in " ".join(text) for part in (quote[:enough], quote[-enough:]))


def _words(text: str) -> list[str]:
    return "".join(sign if sign.isalnum() else " " for sign in text.casefold()).split()
