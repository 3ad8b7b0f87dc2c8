"""Vectors that versions lack, and how they come to them: after their provider was away, and when staff choose another
embedder. Sync functions, for the engine (`chats.replies.embedding`).

A version lacks vectors from the moment it is ready, or an embedder is chosen, until all of its chunks have one of each
wanted embedder. Both are said under a lock on the active embedder's row, so that none is overlooked in between.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, Now

from chats import doorbell
from chats.knowledge.about import about
from chats.knowledge.embedders import active_embedder, wanted_embedders
from chats.knowledge.full_text import make_vector_index
from chats.knowledge.hits import as_vector, has_vector_column
from chats.knowledge.models import Chunk, DocumentVersion, Embedder, Embedding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ERROR_MAX_LENGTH = 1_000


@dataclass(frozen=True)
class Gap:
    """What one version lacks of one embedder: the places of chunks without a vector."""

    version_id: UUID
    user_id: UUID
    name: str
    embedder: Embedder
    places: Sequence[int]


# ---------------------------------------------------------------- who has what
def gaps_of(version_id: UUID) -> list[Gap]:
    """What a version that is searched, or about to be, lacks of each wanted embedder."""
    version = DocumentVersion.objects.select_related("document").filter(pk=version_id).first()
    if version is None:
        return []
    name, user_id = version.document.name, version.document.user_id
    gaps = [
        Gap(version_id, user_id, name, embedder, _places_without(version_id, embedder))
        for embedder in wanted_embedders()
    ]
    return [gap for gap in gaps if gap.places]


def _places_without(version_id: UUID, embedder: Embedder) -> list[int]:
    covered = _places_with(version_id, embedder)
    places = Chunk.objects.filter(version=version_id).order_by("index").values_list("index", flat=True)
    return [place for place in places if place not in covered]


def _places_with(version_id: UUID, embedder: Embedder) -> set[int]:
    rows = Embedding.objects.filter(version=version_id, embedder=embedder).values_list("first", "count")
    return {place for first, count in rows for place in range(first, first + count)}


def texts_of(gap: Gap, places: Collection[int]) -> list[tuple[int, str]]:
    """What is to be made vectors of: each place with its text, but for those that are gone meanwhile."""
    rows = Chunk.objects.filter(version=gap.version_id, index__in=places).order_by("index")
    prefix = gap.embedder.text_prefix
    return [
        (place, f"{prefix}{about(gap.name, heading)}\n{text}")
        for place, heading, text in rows.values_list("index", "heading", "text")
    ]


def store(gap: Gap, places: Sequence[int], vectors: "NDArray[np.float32]") -> None:
    """Keep the vectors of the chunks at `places`, one a row. What is there already stays."""
    with transaction.atomic():
        # One at a time, so that no chunk has two.
        version = DocumentVersion.objects.select_for_update(of=("self",), no_key=True)
        is_there = version.filter(pk=gap.version_id, document__deleted_at__isnull=True).first() is not None
        covered = _places_with(gap.version_id, gap.embedder)
        new = [at for at, place in enumerate(places) if place not in covered]
        if not is_there or not new:
            return
        rows = embeddings(gap.embedder, gap.version_id, gap.user_id, [places[at] for at in new], _unit(vectors[new]))
        Embedding.objects.bulk_create(rows)


def _unit(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np  # noqa: PLC0415 - see `embedders`

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def embeddings(
    embedder: Embedder, version_id: UUID, user_id: UUID, places: Sequence[int], vectors: "NDArray[np.float32]"
) -> list[Embedding]:
    """Rows for the vectors of the chunks at `places`, one a row of `vectors`, as this database stores them."""

    def row(first: int, count: int, stored: Any) -> Embedding:
        return Embedding(
            embedder=embedder,
            user_id=user_id,
            version_id=version_id,
            dimensions=vectors.shape[1],
            first=first,
            count=count,
            vectors=stored,
        )

    if has_vector_column():
        return [row(at, 1, as_vector(vector)) for at, vector in zip(places, vectors, strict=True)]
    from chats.knowledge.packed import pack  # noqa: PLC0415 - see `embedders`

    return [row(places[start], end - start, pack(vectors[start:end])) for start, end in _runs(places)]


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Where in `places` each run of following numbers begins and ends."""
    starts = [at for at, place in enumerate(places) if at == 0 or place != places[at - 1] + 1]
    return list(zip(starts, [*starts[1:], len(places)], strict=True))


def lacks_some(version_id: UUID) -> bool:
    """Whether a chunk of it has no vector of a wanted embedder. The caller holds the lock on the active one."""
    wanted, count = wanted_embedders(), Chunk.objects.filter(version=version_id).count()
    made = Embedding.objects.filter(version=version_id, embedder__in=wanted).values("embedder").order_by()
    counts = dict(made.annotate(made=Sum("count")).values_list("embedder", "made"))
    return any(counts.get(embedder.pk, 0) < count for embedder in wanted)


def settle(version_id: UUID) -> None:
    """Say that a version lacks nothing, if that is so."""
    with transaction.atomic():
        active_embedder(is_locked=True)
        if not lacks_some(version_id):
            DocumentVersion.objects.filter(pk=version_id).update(lacks_vectors=False)


# ---------------------------------------------------------------- the work there is
def claim_lacking(worker: str, *, limit: int, but: Collection[UUID]) -> list[UUID]:
    """Versions to be given vectors by this worker, at most `limit`; none while another is at it."""
    lacking = DocumentVersion.objects.lacking_vectors().exclude(pk__in=but).order_by("pk")
    if not lacking.exists() or not _hold(worker):
        return []
    return list(lacking.values_list("pk", flat=True)[:limit])


def beat(worker: str) -> None:
    """Say that this worker is still at it."""
    _hold(worker)


def _hold(worker: str) -> bool:
    """One worker at a time: what two do at once is paid for twice."""
    stale = Now() - timedelta(seconds=settings.REPLY_STALE_SECONDS)
    is_free = Q(worker__in=["", worker]) | Q(heartbeat_at__isnull=True) | Q(heartbeat_at__lt=stale)
    active = Embedder.objects.filter(is_free, pk=active_embedder().pk)
    return bool(active.update(worker=worker, heartbeat_at=Now()))


def leave(worker: str) -> None:
    """Let another worker go on at once: this process is going away."""
    Embedder.objects.filter(worker=worker).update(worker="", heartbeat_at=None)


def take_over() -> bool:
    """Let searches ask the embedder that was preparing, if every version has its vectors; whether it was so.

    What a version lacks of the active one does not matter: that may never answer again.
    """
    preparing = Embedder.objects.filter(state=Embedder.State.PREPARING)
    if not preparing.exists():
        return False
    with transaction.atomic():
        active = active_embedder(is_locked=True)
        prepared = preparing.first()
        if prepared is None or _lacking(prepared).exists():
            return False
        Embedder.objects.filter(pk=active.pk).retire()
        preparing.filter(pk=prepared.pk).update(state=Embedder.State.ACTIVE)
        # Whose vectors are thrown away now.
        transaction.on_commit(partial(doorbell.ring, "document", active.pk))
    return True


def _lacking(embedder: Embedder) -> Any:
    """Versions that lack vectors of this embedder."""
    made = Embedding.objects.filter(version=OuterRef("pk"), embedder=embedder).order_by().values("version")
    count = Coalesce(Subquery(made.annotate(made=Sum("count")).values("made")), 0)
    return DocumentVersion.objects.lacking_vectors().annotate(made=count).filter(made__lt=F("chunk_count"))


def make_indexes() -> None:
    """Those of the vectors that are wanted, where the database needs one for each length. Not in a transaction."""
    if has_vector_column():
        for dimensions in {embedder.dimensions for embedder in wanted_embedders()}:
            make_vector_index(connection, dimensions)


def note_error(embedder: Embedder, message: str) -> None:
    """Why it could not be asked, for staff to read; "" once it could."""
    error = message[:ERROR_MAX_LENGTH]
    Embedder.objects.filter(pk=embedder.pk).exclude(error=error).update(error=error)
