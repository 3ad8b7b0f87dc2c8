"""Answers from documents: what is looked for, what is found, and how it is kept with the answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings

from accounts.models import User
from chats.errors import Invalid
from chats.knowledge import search
from chats.knowledge.embedders import QueryVector
from chats.knowledge.services import check_visible
from chats.knowledge.terms import query_terms
from chats.llm.values import ChatMessage, Passage
from chats.models import Message
from chats.replies.lease import Job

DOCUMENTS_MAX = 100
# A question with fewer words of its own leans on the one before: «And on Sundays?»
TERMS_ENOUGH = 4
EARLIER_QUESTIONS = 2
QUERY_MAX_CHARACTERS = 1_000
# Passages take at most this much of what a model can read at once, and never more than so many characters.
WINDOW_SHARE = 0.4
CHARACTERS_PER_TOKEN = 4
CHARACTERS_MAX = 24_000
# Of a source, in an event; the message has all of it.
EXCERPT_CHARACTERS = 300


@dataclass(frozen=True)
class DocumentUse:
    """Whether answers use documents, how many passages at most, and of which documents; none named: all."""

    is_on: bool
    limit: int | None = None
    documents: Sequence[UUID] = ()

    @property
    def stored(self) -> dict[str, Any] | None:
        """As chats and replies have it."""
        if not self.is_on:
            return None
        limit = settings.PASSAGES_DEFAULT if self.limit is None else self.limit
        return {"limit": limit, "documents": [str(pk) for pk in self.documents]}


def check_documents(user: User, use: DocumentUse) -> None:
    """Raises NotFound when one of the documents is not `user`'s, Invalid when they or the passages are too many."""
    if use.limit is not None and not 1 <= use.limit <= settings.PASSAGES_MAX:
        raise Invalid(fields={"limit": [f"Use a whole number from 1 to {settings.PASSAGES_MAX}."]})
    if len(use.documents) > DOCUMENTS_MAX:
        raise Invalid(fields={"documents": [f"Name at most {DOCUMENTS_MAX}, or none for all."]})
    check_visible(user, use.documents)


def find_sources(job: Job, query: str, near: QueryVector | None) -> list[dict[str, Any]]:
    """What a search of the person's documents finds for `query`, as `Message.sources` has it.

    `near` is its vector, where a provider makes it.
    """
    use: Mapping[str, Any] = job.reply.retrieval or {}
    chat = job.reply.chat
    documents = [UUID(pk) for pk in use.get("documents", [])]
    scope = search.Scope(documents=documents, chat=None if documents else chat.pk, space=chat.space)
    found = search.search_chunks(job.reply.user, query, limit=int(use.get("limit", 0)), scope=scope, near=near)
    return [source_of(number, passage) for number, passage in enumerate(_fitting(job, found), 1)]


def source_of(number: int, passage: search.Passage) -> dict[str, Any]:
    """A passage as it is stored with an answer: what it said stays, whatever becomes of the document."""
    return {
        "number": number,
        "document": str(passage.document),
        "version": str(passage.version),
        "version_number": passage.number,
        "name": passage.name,
        "page": passage.page,
        "heading": passage.heading,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "score": passage.score,
    }


def store_sources(job: Job, sources: Sequence[Mapping[str, Any]]) -> bool:
    """Keep what was found with the answer, before a word of it is there; False: the reply is no longer ours."""
    answer = Message.objects.filter(pk=job.message.pk, writer__in=job.held)
    return bool(answer.update(sources=list(sources)))


def passages_of(sources: Sequence[Mapping[str, Any]]) -> list[Passage]:
    """As a model is told of them with its question. What its own calls have found it has read there."""
    return [Passage(title=title_of(s), text=str(s["text"])) for s in sources if "call" not in s]


def in_events(sources: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """What viewers are told at once, as many together as fit an event, which can't hold the texts. At least one."""
    room = settings.EVENT_MAX_BYTES // 2
    batches: list[list[dict[str, Any]]] = [[]]
    left = room
    for source in sources:
        shown = {**source, "text": str(source["text"])[:EXCERPT_CHARACTERS]}
        size = len(orjson.dumps(shown))
        if size > left and batches[-1]:
            batches.append([])
            left = room
        batches[-1].append(shown)
        left -= size
    return batches


def query_of(messages: Sequence[ChatMessage]) -> str:
    """What to look for: the last question, and where it says little by itself, those before it."""
    questions = [message.content for message in messages if message.role == "user" and message.content.strip()]
    if not questions:
        return ""
    query = _shortened(questions[-1])
    for earlier in reversed(questions[-1 - EARLIER_QUESTIONS : -1]):
        if len(query_terms(query)) >= TERMS_ENOUGH:
            break
        query = f"{query} {_shortened(earlier)}"
    return query[:QUERY_MAX_CHARACTERS]


def _shortened(text: str) -> str:
    """`text` on one line. Of a long one its ends: before or behind what was pasted stands what is asked of it."""
    half = QUERY_MAX_CHARACTERS // 2
    ends = text if len(text) <= 2 * half else f"{text[:half]} {text[-half:]}"
    return re.sub(r"\s+", " ", ends).strip()


def title_of(source: Mapping[str, Any]) -> str:
    """Which document a passage is of, and where in it."""
    page = f", page {source['page']}" if source["page"] else ""
    heading = f", {source['heading']}" if source["heading"] else ""
    return f"{source['name']}{page}{heading}"


def _fitting(job: Job, passages: Sequence[search.Passage]) -> list[search.Passage]:
    """The first of them, as many as the model has room for."""
    window = job.model.context_window if job.model else None
    room = min(CHARACTERS_MAX, int(window * CHARACTERS_PER_TOKEN * WINDOW_SHARE)) if window else CHARACTERS_MAX
    fitting: list[search.Passage] = []
    for passage in passages:
        room -= len(passage.text)
        if room < 0 and fitting:
            break
        fitting.append(passage)
    return fitting
