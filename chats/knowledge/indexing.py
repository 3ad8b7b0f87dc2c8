"""The rows of a document while it is read: who reads it, how far it is, what was found, how it ended.

Sync functions, for the engine (`chats.replies.documents`). A version is held by a lease, as a reply is: after a
takeover the writes of whoever had it before change nothing. Each is short, so that nobody else's waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from chats import doorbell
from chats.knowledge.embedders import active_embedder, wanted_embedders
from chats.knowledge.hits import mark_of
from chats.knowledge.models import Chunk, Document, DocumentText, DocumentVersion, Embedder, Embedding
from chats.knowledge.vectors import embeddings, lacks_some

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = structlog.get_logger(__name__)

ROWS_AT_ONCE = 200
# Whoever began to read a document before may still store vectors of it.
RETIRED_FOR = timedelta(minutes=10)
INTERRUPTED = (
    "interrupted",
    "The server ended several times while it read this document. Try again, or upload it in parts.",
)


class Lost(Exception):
    """The version is no longer ours: it was deleted, or somebody else reads it."""


@dataclass(frozen=True)
class Reading:
    """A version this worker now holds, with whose it is and what its name is."""

    version: DocumentVersion
    name: str
    user_id: UUID
    builtin: Embedder | None  # where it is wanted: the vectors of others are made later (`vectors`)

    @property
    def held(self) -> Any:
        return DocumentVersion.objects.held_by(self.version.worker, self.version.attempt).filter(pk=self.version.pk)


@dataclass(frozen=True)
class Part:
    """A chunk as the extractor made it."""

    index: int
    start: int
    end: int
    page: int | None
    heading: str
    text: str
    terms: str


def claim_next(worker: str, *, after_user: UUID | None = None) -> Reading | None:
    """Take the version that has waited longest of the person whose turn it is, the one after `after_user`.

    None: nothing waits. One whose servers died too often while they read it fails.
    """
    waiting = DocumentVersion.objects.waiting(Now() - timedelta(seconds=settings.REPLY_STALE_SECONDS))
    # Before a transaction, which on SQLite would keep others from writing.
    while waiting.exists():
        with transaction.atomic():
            version = _next_of(waiting, after_user)
            if version is None:
                return None
            if version.attempt < settings.DOCUMENT_MAX_ATTEMPTS:
                return _claimed(version, worker)
            code, message = INTERRUPTED
            _fail(DocumentVersion.objects.filter(pk=version.pk), version, code, message)
    return None


def _next_of(waiting: Any, after_user: UUID | None) -> DocumentVersion | None:
    waiting = waiting.select_related("document").order_by("document__user", "created_at")
    later = waiting.filter(document__user__gt=after_user) if after_user else waiting
    return _locked(later) or (_locked(waiting) if after_user else None)


def _locked(versions: Any) -> DocumentVersion | None:
    found: DocumentVersion | None = versions.select_for_update(of=("self",), skip_locked=True).first()
    return found


def _claimed(version: DocumentVersion, worker: str) -> Reading:
    version.status, version.worker, version.attempt = DocumentVersion.Status.INDEXING, worker, version.attempt + 1
    version.heartbeat_at, version.done, version.total = Now(), 0, 0
    version.has_leftovers = False  # what there is of it, it will be
    changed = ["status", "worker", "attempt", "heartbeat_at", "done", "total", "has_leftovers"]
    version.save(update_fields=changed)
    builtin = next((each for each in wanted_embedders() if each.kind == Embedder.Kind.BUILTIN), None)
    return Reading(version, version.document.name, version.document.user_id, builtin)


def note_progress(reading: Reading, *, done: int, total: int) -> None:
    """How far it is, and that it is still being read. Raises Lost."""
    if not reading.held.update(done=done, total=total, heartbeat_at=Now()):
        raise Lost


def clear(reading: Reading) -> bool:
    """Take away some of what an attempt before this one has written; whether there may be more."""
    return _remove_some(reading.version.pk)


def store_text(reading: Reading, *, kind: str, text: str, pages: int | None, page_starts: Sequence[int]) -> None:
    """What was read. Raises Lost."""
    with transaction.atomic():
        values = {"kind": kind, "characters": len(text), "pages": pages, "heartbeat_at": Now()}
        if not reading.held.update(**values):
            raise Lost
        DocumentText.objects.update_or_create(
            version=reading.version, defaults={"text": text, "page_starts": list(page_starts)}
        )


def store_parts(
    reading: Reading, parts: Sequence[Part], vectors: "NDArray[np.float32]", *, done: int, total: int
) -> None:
    """Some chunks with their vectors by the built-in embedder, one a row. Not found by any search yet. Raises Lost."""
    with transaction.atomic():
        note_progress(reading, done=done, total=total)
        mark = mark_of(reading.user_id)
        Chunk.objects.bulk_create(
            Chunk(
                version=reading.version,
                user_id=reading.user_id,
                index=part.index,
                start=part.start,
                end=part.end,
                page=part.page,
                heading=part.heading,
                text=part.text,
                terms=f"{mark} {part.terms}".rstrip(),
            )
            for part in parts
        )
        # One that was retired meanwhile keeps its row for some minutes, so that there is something to refer to.
        if reading.builtin is not None:
            places = [part.index for part in parts]
            version, embedder = reading.version, reading.builtin
            Embedding.objects.bulk_create(embeddings(embedder, version.pk, reading.user_id, places, vectors))


def finish(reading: Reading, *, chunk_count: int) -> None:
    """From now on it is what searches find of its document. Raises Lost."""
    now = timezone.now()
    version = reading.version
    with transaction.atomic():
        active_embedder(is_locked=True)
        document = Document.objects.select_for_update().filter(pk=version.document_id).first()
        ready = {"status": DocumentVersion.Status.READY, "indexed_at": now, "chunk_count": chunk_count}
        ready["lacks_vectors"] = lacks_some(version.pk)
        if document is None or not reading.held.update(**ready, error_code="", error_message=""):
            raise Lost
        before = document.current
        # A newer one may have been quicker.
        if before is None or before.number < version.number:
            document.current = version
        replaced = [each.pk for each in (before, version) if each and each != document.current]
        document.versions.filter(pk__in=replaced).update(has_leftovers=True)
        document.updated_at = now
        document.save(update_fields=["current", "updated_at"])
        _announce(version)


def fail(reading: Reading, code: str, message: str) -> None:
    """It could not be read. Raises Lost."""
    with transaction.atomic():
        if not _fail(reading.held, reading.version, code, message):
            raise Lost


def _fail(held: Any, version: DocumentVersion, code: str, message: str) -> int:
    failed = {"status": DocumentVersion.Status.FAILED, "error_code": code, "error_message": message}
    count: int = held.update(**failed, has_leftovers=True)
    if count:
        _announce(version)
    return count


def release(reading: Reading) -> None:
    """Leave it to whoever claims it next: this process is going away, which is nothing against the document."""
    waiting = {"status": DocumentVersion.Status.PENDING, "worker": "", "heartbeat_at": None}
    with transaction.atomic():
        if reading.held.update(**waiting, attempt=reading.version.attempt - 1):
            _announce(reading.version)


def _announce(version: DocumentVersion) -> None:
    transaction.on_commit(partial(doorbell.ring, "document", version.document_id))


# ---------------------------------------------------------------- what is no longer searched
def purge_some() -> bool:
    """Take away some of what belongs to no current version or embedder any more; whether there may be more.

    A deleted document goes with its files and texts; one that went with its chat when that can't come back. Of a
    version that another has replaced the text stays: earlier answers cite it.
    """
    return _purge_embedder() or _purge_leftovers() or _purge_document()


def _purge_embedder() -> bool:
    retired = Embedder.objects.filter(state=Embedder.State.RETIRED)
    for embedder in retired:
        if _delete_some(Embedding.objects.filter(embedder=embedder)):
            return True
    return retired.filter(retired_at__lt=Now() - RETIRED_FOR).delete()[0] > 0


def _purge_leftovers() -> bool:
    left = DocumentVersion.objects.filter(has_leftovers=True)
    version_id = left.values_list("pk", flat=True).first()
    if version_id is None:
        return False
    with transaction.atomic():
        # Somebody may just have asked for it to be read again: then they are leftovers no more.
        is_left = left.select_for_update().filter(pk=version_id).first() is not None
        if is_left and not _remove_some(version_id):
            left.filter(pk=version_id).update(has_leftovers=False)
    return True


def _purge_document() -> bool:
    undone_since = timezone.now() - timedelta(seconds=settings.CHAT_UNDO_SECONDS)
    document = Document.objects.gone_for_good(undone_since).order_by("deleted_at").first()
    if document is None:
        return False
    for version in document.versions.all():
        if _remove_some(version.pk):
            return True
    for version in document.versions.all():
        try:
            version.file.delete(save=False)
        except OSError as error:
            # The others are not to wait for it: without a row it is swept away later.
            logger.warning("document_file_stays", file=version.file.name, error=str(error))
    document.delete()
    return True


def _remove_some(version_id: UUID) -> bool:
    """At most ROWS_AT_ONCE chunks of a version, and as many rows of vectors; whether there may be more."""
    with transaction.atomic():
        vectors, chunks = (
            _delete_some(model._default_manager.filter(version=version_id)) for model in (Embedding, Chunk)
        )
    return bool(vectors + chunks)


def _delete_some(rows: Any) -> int:
    ids = list(rows.values_list("pk", flat=True)[:ROWS_AT_ONCE])
    return rows.model._default_manager.filter(pk__in=ids).delete()[0] if ids else 0
