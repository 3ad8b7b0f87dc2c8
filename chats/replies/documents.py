"""Reads documents in this process, one at a time: text out of files by a child process, then chunks and vectors.

The row of a version is its place in the queue, its lease and its end, as a reply's is; a ring only makes it be looked
at at once. What a dead worker left is read again from the beginning.
"""

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from shutil import copyfileobj, rmtree
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error

from accounts.errors import is_out_of_room
from chats.errors import DomainError
from chats.knowledge import indexing
from chats.knowledge.extraction import Extracted, ExtractionFailed, ExtractionLimits, extract
from chats.knowledge.extractor.failures import MESSAGES
from chats.knowledge.indexing import Lost, Reading
from chats.knowledge.models import Embedder
from chats.knowledge.parts import Batch, batches_of
from chats.knowledge.vectors import Gap, gaps_of
from chats.llm.errors import ProviderError
from chats.replies.background import rings
from chats.replies.database import AWAY, in_database_of_documents
from chats.replies.embedding import Resting, VectorMaker

logger = structlog.get_logger(__name__)

FOLDER_PREFIX = "parley-document-"
# No document is read for so long; what is older was left by a process that died.
FOLDER_MAX_SECONDS = 3_600
PROGRESS_SECONDS = 1.0
PURGE_SECONDS = 60.0
RETRY_SECONDS = 1.0
# After so long a document asks for no more of its vectors, after twice as long it waits for none: the rest are made in
# the background.
VECTORS_SECONDS = 30.0
FILE_LOST = ("file_lost", "The server can't find this file any more. Upload it again.")
INTERNAL = ("internal", "Something went wrong on this server while it read this document. Try again.")


class DocumentReader:
    """`read` and `purge` go on for as long as the process lasts."""

    def __init__(self, *, name: str, vectors: VectorMaker) -> None:
        self.name = name
        self._vectors = vectors

    async def read(self) -> None:
        """One document after the other, of each person in turn: whoever uploads a thousand waits for the others."""
        await asyncio.to_thread(_clear_folders)
        last_user: UUID | None = None
        with rings("document") as ring:
            while True:
                try:
                    reading = await in_database_of_documents(indexing.claim_next, self.name, after_user=last_user)
                except Error as error:
                    logger.warning("documents_retry", error=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if reading is None:
                    await ring(settings.REPLY_HEARTBEAT_SECONDS)
                else:
                    last_user = reading.user_id
                    await _read(reading, self._vectors)

    async def purge(self) -> None:
        """Rows of deleted documents and of old versions, a few at a time."""
        with rings("document") as ring:
            while True:
                try:
                    while await in_database_of_documents(indexing.purge_some):
                        pass
                except Error as error:
                    logger.warning("purge_retry", error=str(error))
                await ring(PURGE_SECONDS)


async def _read(reading: Reading, vectors: VectorMaker) -> None:
    """Read one version to its end. Where the database is away its lease runs out, and somebody begins anew."""
    document = str(reading.version.document_id)
    work = _Work(reading, vectors)
    try:
        await work.go()
        logger.info("document_ready", document=document, chunks=work.stored)
    except ExtractionFailed as failure:
        logger.info("document_failed", document=document, code=failure.code)
        await _fail(reading, failure.code, failure.message)
    except OSError as error:
        code, why = _reason_of(error)
        logger.warning("document_not_read", document=document, code=code, error=str(error))
        await _fail(reading, code, why)
    except Lost:
        logger.info("document_lost", document=document)
    except AWAY as error:
        logger.warning("document_cut", document=document, error=str(error))
    except asyncio.CancelledError:
        # This process goes away. Whatever the database says to it, the lease runs out.
        with suppress(*AWAY):
            await in_database_of_documents(indexing.release, reading)
        raise
    except Exception:
        logger.exception("document_crashed", document=document)
        await _fail(reading, *INTERNAL)


def _clear_folders() -> None:
    """Take away what processes that died have left of documents on this machine's disk."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > FOLDER_MAX_SECONDS:
                rmtree(folder)


def _reason_of(error: OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return FILE_LOST
    return ("no_room", MESSAGES["no_room"]) if is_out_of_room(error) else INTERNAL


async def _fail(reading: Reading, code: str, message: str) -> None:
    with suppress(Lost, *AWAY):
        await in_database_of_documents(indexing.fail, reading, code, message)


class _Work:
    """What is done for one version. `done` of `total` is how far it is: pages, then parts of the text, then vectors."""

    def __init__(self, reading: Reading, vectors: VectorMaker) -> None:
        self.reading = reading
        self._vectors = vectors
        self.done = self.total = self.stored = 0

    async def go(self) -> None:
        """Raises ExtractionFailed, Lost, and what the database says."""
        # Whoever lost the version learns it from the beat, which ends the work.
        try:
            async with asyncio.TaskGroup() as tasks:
                beat = tasks.create_task(self._keep_beating())
                tasks.create_task(self._read()).add_done_callback(lambda _: beat.cancel())
        except BaseExceptionGroup as failures:
            # The first is the cause; the other was cancelled for it.
            raise failures.exceptions[0] from None

    async def _keep_beating(self) -> None:
        told, quiet_seconds = (0, 0), 0.0
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            quiet_seconds += PROGRESS_SECONDS
            now = (self.done, self.total)
            if now != told or quiet_seconds >= settings.REPLY_HEARTBEAT_SECONDS:
                await in_database_of_documents(indexing.note_progress, self.reading, done=now[0], total=now[1])
                told, quiet_seconds = now, 0.0

    async def _read(self) -> None:
        while await in_database_of_documents(indexing.clear, self.reading):
            pass
        with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as name:
            folder = Path(name)
            extracted = await self._extract(folder)
            await self._store(extracted)

    async def _extract(self, folder: Path) -> Extracted:
        path = folder / "original"
        await asyncio.to_thread(self._fetch, path)
        return await extract(
            path, name=self.reading.name, folder=folder, limits=_limits(), on_progress=self._note_progress
        )

    def _fetch(self, path: Path) -> None:
        """The file, from wherever it is stored, to where a process without our rights can read it."""
        with self.reading.version.file.open("rb") as stored, path.open("wb") as copy:
            copyfileobj(stored, copy)

    def _note_progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    async def _store(self, extracted: Extracted) -> None:
        text = await asyncio.to_thread(extracted.text_path.read_text, encoding="utf-8")
        await in_database_of_documents(
            indexing.store_text,
            self.reading,
            kind=extracted.kind,
            text=text,
            pages=extracted.pages,
            page_starts=extracted.page_starts,
        )
        self.done, self.total = 0, extracted.chunks
        batches = batches_of(extracted.chunks_path, text)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            seconds = await in_database_of_documents(self._store_batch, batch)
            # SQLite has one writer at a time, and others wait for their turn.
            await asyncio.sleep(seconds)
        await self._ask_for_vectors()
        await in_database_of_documents(indexing.finish, self.reading, chunk_count=self.stored)

    async def _ask_for_vectors(self) -> None:
        """Those of the embedder that searches ask. What can't be had now comes later, and words are found at once."""
        for gap in await in_database_of_documents(gaps_of, self.reading.version.pk):
            if gap.embedder.state == Embedder.State.ACTIVE and not gap.embedder.error:
                await self._fill(gap)

    async def _fill(self, gap: Gap) -> None:
        try:
            async with asyncio.timeout(2 * VECTORS_SECONDS):
                await self._vectors.fill(gap, seconds=VECTORS_SECONDS, on_progress=self._note_progress)
        except (ProviderError, DomainError, Resting, TimeoutError):
            pass  # it is at the embedder, for staff to read
        except AWAY:
            raise
        except Exception:
            logger.exception("document_without_vectors", document=str(self.reading.version.document_id))

    def _store_batch(self, batch: Batch) -> float:
        """Returns how many seconds it took."""
        began = time.monotonic()
        self.done = self.stored = self.stored + len(batch.parts)
        indexing.store_parts(self.reading, batch.parts, batch.vectors, done=self.done, total=self.total)
        return time.monotonic() - began


def _limits() -> ExtractionLimits:
    return ExtractionLimits(
        total_seconds=settings.DOCUMENT_TOTAL_SECONDS,
        cpu_seconds=settings.DOCUMENT_CPU_SECONDS,
        memory_bytes=settings.DOCUMENT_MEMORY_BYTES,
        max_pages=settings.DOCUMENT_MAX_PAGES,
        max_characters=settings.DOCUMENT_MAX_CHARACTERS,
        expanded_max_bytes=settings.DOCUMENT_EXPANDED_MAX_BYTES,
    )
