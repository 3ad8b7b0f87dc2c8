"""Finding the passages that answer a question: by words and by vectors, both merged by reciprocal rank fusion.

Only chunks of a person's current versions count. What the two databases do differently is in `hits`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.db.models import Q

from accounts.models import User
from accounts.queries import stored
from chats.errors import Invalid
from chats.knowledge.embedders import QueryVector, active_embedder, local_vectors
from chats.knowledge.hits import Key, Place, text_hits, vector_hits
from chats.knowledge.models import Chunk, Document, Embedder
from chats.knowledge.terms import query_terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = structlog.get_logger(__name__)

QUERY_MAX_CHARACTERS = 2_000
# How many each way of searching brings to the merger.
CANDIDATES = 50
JOINED_MAX = 3  # chunks in a passage
# Cormack, Clarke and Büttcher, 2009: a constant that keeps one first place from outweighing two good ones.
RRF_CONSTANT = 60
# The built-in embedder knows letters, not meanings, and the other small one only English: they say less than the words.
WEIGHTS = {Embedder.Kind.BUILTIN: 0.5, Embedder.Kind.MINILM: 0.5}
BOTH = ("text", "vector")


@dataclass(frozen=True)
class Scope:
    """Where to search: in these documents; or else in those of a chat and of its space; or else everywhere."""

    documents: Collection[UUID] = ()
    chat: UUID | None = None
    space: str = ""


EVERYWHERE = Scope()


@dataclass(frozen=True)
class Passage:
    """A piece of a document. `start` and `end` count characters of the version's text; `score` is from 0 to 1."""

    document: UUID
    version: UUID
    number: int
    name: str
    page: int | None
    heading: str
    start: int
    end: int
    text: str
    score: float


def search_chunks(
    user: User,
    query: str,
    *,
    limit: int,
    scope: Scope = EVERYWHERE,
    near: QueryVector | None = None,
    ways: Collection[str] = BOTH,
) -> list[Passage]:
    """The passages nearest to `query` among what `user` may read, best first, at most `limit`.

    Neighbours are one passage, and no more than half of them are from one document where others have some too.
    `near` is the query's vector where a provider makes it; without one by the embedder that is active now, only words
    are looked for.
    """
    query = query[:QUERY_MAX_CHARACTERS].strip()
    place = _place_of(user, scope)
    if not query or limit < 1:
        return []
    rankings: list[tuple[float, Sequence[Key]]] = []
    if "text" in ways:
        rankings.append((1, text_hits(place, query_terms(query), limit=CANDIDATES)))
    if "vector" in ways:
        embedder = active_embedder()
        vector = _vector_of(embedder, query, near)
        weight = WEIGHTS.get(Embedder.Kind(embedder.kind), 1)
        if vector is not None and vector.any():
            rankings.append((weight, vector_hits(place, embedder, vector, limit=CANDIDATES)))
    return _passages(_fused(rankings), limit=limit)


def _vector_of(embedder: Embedder, query: str, near: QueryVector | None) -> "NDArray[np.float32] | None":
    if near is not None and near.embedder_id == embedder.pk:
        return near.vector
    try:
        made = local_vectors(embedder, [query])
    except Invalid as error:
        logger.warning("query_without_vector", embedder=embedder.pk, message=error.message)
        return None
    return None if made is None else made[0]


def _place_of(user: User, scope: Scope) -> Place:
    """The scope as a condition on `d`, a row of documents."""
    if scope.documents:
        marks = ", ".join(["%s"] * len(scope.documents))
        return Place(user, f"d.id IN ({marks})", [stored(Document, "id", pk) for pk in scope.documents])
    if scope.chat is not None:
        values = [stored(Document, "id", scope.chat), scope.space]
        return Place(user, "d.chat = %s OR (d.chat IS NULL AND d.space IN ('', %s))", values)
    if scope.space:
        return Place(user, "d.chat IS NULL AND d.space IN ('', %s)", [scope.space])
    return Place(user, "", [])


def _fused(rankings: Collection[tuple[float, Sequence[Key]]]) -> list[tuple[Key, float]]:
    """All that any way has found, best first, each with its score: 1 for what is first in every way."""
    scores: defaultdict[Key, float] = defaultdict(float)
    best = sum(weight for weight, _ in rankings) / (RRF_CONSTANT + 1)
    for weight, ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] += weight / (RRF_CONSTANT + rank) / best
    return sorted(scores.items(), key=lambda item: -item[1])


@dataclass
class _Piece:
    """Chunks of one version that follow each other, and the best score among them."""

    chunks: list[Chunk]
    score: float

    def touches(self, chunk: Chunk) -> bool:
        first, last = self.chunks[0], self.chunks[-1]
        is_beside = chunk.version_id == first.version_id and chunk.index in {first.index - 1, last.index + 1}
        return is_beside and len(self.chunks) < JOINED_MAX

    def take(self, chunk: Chunk) -> None:
        self.chunks = sorted([*self.chunks, chunk], key=lambda each: each.index)


def _passages(found: Sequence[tuple[Key, float]], *, limit: int) -> list[Passage]:
    has_several = len({version for (version, _), _ in found}) > 1
    most = max(1, limit // 2) if has_several else limit
    pieces: list[_Piece] = []
    of_version: Counter[UUID] = Counter()
    for chunk, score in _rows_of(found, at_once=2 * limit):
        near = next((piece for piece in pieces if piece.touches(chunk)), None)
        if near is not None:
            near.take(chunk)
        elif of_version[chunk.version_id] < most:
            of_version[chunk.version_id] += 1
            pieces.append(_Piece([chunk], score))
        if len(pieces) == limit:
            break
    return [_passage_of(piece) for piece in pieces]


def _rows_of(found: Sequence[tuple[Key, float]], *, at_once: int) -> Iterator[tuple[Chunk, float]]:
    """The chunks in their order, with their documents; those that were deleted since they were found are left out."""
    for start in range(0, len(found), at_once):
        some = found[start : start + at_once]
        which = reduce(or_, (Q(version=version, index=index) for (version, index), _ in some))
        chunks = Chunk.objects.filter(which, version__document__deleted_at__isnull=True)
        rows = {(chunk.version_id, chunk.index): chunk for chunk in chunks.select_related(*_NAMED).only(*_SHOWN)}
        yield from ((rows[key], score) for key, score in some if key in rows)


_NAMED = ("version__document",)
_SHOWN = ("index", "start", "end", "page", "heading", "text", "version__number", "version__document__name")


def _passage_of(piece: _Piece) -> Passage:
    first, last = piece.chunks[0], piece.chunks[-1]
    version = first.version
    return Passage(
        document=version.document_id,
        version=version.pk,
        number=version.number,
        name=version.document.name,
        page=first.page,
        heading=first.heading,
        start=first.start,
        end=last.end,
        text="\n\n".join(chunk.text for chunk in piece.chunks),
        score=round(min(1.0, piece.score), 4),
    )
