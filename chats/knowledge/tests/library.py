"""Documents as tests want them: stored and indexed at once, without a file being read."""

from collections.abc import Sequence

from django.core.files.base import ContentFile

from accounts.models import User
from chats.knowledge import hashing, indexing
from chats.knowledge.models import Document
from chats.knowledge.services import add_document
from chats.knowledge.terms import language_of, terms_of


def shelve(user: User, name: str, paragraphs: Sequence[str], **place) -> Document:
    """A document of `user` that is ready, each paragraph a chunk of it."""
    document, _ = add_document(user, ContentFile("\n\n".join([name, *paragraphs]).encode(), name=name), **place)
    index_next(paragraphs)
    document.refresh_from_db()
    return document


def index_next(paragraphs: Sequence[str]) -> None:
    """Read the version that waits longest, as if these paragraphs were in it."""
    reading = indexing.claim_next("test")
    assert reading is not None
    while indexing.clear(reading):
        pass
    text = "\n\n".join(paragraphs)
    indexing.store_text(reading, kind="text", text=text, pages=None, page_starts=[])
    language, parts, start = language_of(text), [], 0
    for index, paragraph in enumerate(paragraphs):
        terms = " ".join(terms_of(paragraph, language=language))
        parts.append(indexing.Part(index, start, start + len(paragraph), None, "", paragraph, terms))
        start += len(paragraph) + 2
    indexing.store_parts(reading, parts, hashing.embed(paragraphs), done=len(parts), total=len(parts))
    indexing.finish(reading, chunk_count=len(parts))
