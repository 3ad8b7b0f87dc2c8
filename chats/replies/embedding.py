"""Asks providers for vectors: of documents, a few calls at once, and of questions, which must not wait long.

What a document lacks is in the rows (`chats.knowledge.vectors`): after any failure, or with another embedder, it is
made good in the background. Meanwhile the document is found by its words. Each call is booked when it is done.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error

from accounts.models import User
from chats.catalog.models import AIModel
from chats.errors import DomainError, Invalid
from chats.knowledge import choosing, vectors
from chats.knowledge.embedders import Asked, QueryVector, active_embedder, asked_of, local_vectors
from chats.knowledge.models import Embedder
from chats.knowledge.vectors import Gap
from chats.llm.errors import ProviderError, ProviderNonsense, ProviderRejected
from chats.llm.registry import embed
from chats.llm.values import Embedded, Usage
from chats.replies.background import rings
from chats.replies.database import AWAY, in_database, in_database_of_documents
from chats.replies.pauses import pause_before_retry
from chats.usage.costs import estimated_tokens
from chats.usage.services import record_embedding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = structlog.get_logger(__name__)

# As many as the servers people run themselves take at once. OpenAI's takes more, but answers no faster for it.
TEXTS_PER_CALL = 32
VERSIONS_AT_ONCE = 4
# A model that refuses a text for its length gets a half of it, then a quarter.
SHORTENED = 2
SAMPLE = "weather"
LOOK_SECONDS = 30.0
LONGER_MAX = 60  # times the first pause

Progress = Callable[[int, int], None]


class Resting(Exception):
    """This embedder failed a moment ago, and is not asked again yet."""


class Rests:
    """How long each embedder is left alone after it failed: every time twice as long."""

    def __init__(self) -> None:
        self._until: dict[int, tuple[float, float]] = {}  # the moment, and of how long a rest it is the end

    def begin(self, embedder_id: int) -> None:
        first = settings.EMBEDDING_PAUSE_SECONDS
        _, last = self._until.get(embedder_id, (0.0, 0.0))
        seconds = min(2 * last, LONGER_MAX * first) if last else first
        self._until[embedder_id] = (time.monotonic() + seconds, seconds)

    def end(self, embedder_id: int) -> None:
        self._until.pop(embedder_id, None)

    def check(self, embedder_id: int) -> None:
        """Raises Resting."""
        if time.monotonic() < self._until.get(embedder_id, (0.0, 0.0))[0]:
            raise Resting

    def seconds(self) -> float:
        """How long until one of them may be asked again."""
        now = time.monotonic()
        return min(
            (until - now for until, _ in self._until.values() if until > now), default=settings.EMBEDDING_PAUSE_SECONDS
        )


class VectorMaker:
    """Of one process: gives versions the vectors they lack."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._calls = asyncio.Semaphore(settings.EMBEDDING_CALLS)
        # What is computed here takes a core that others need.
        self._turn_here = asyncio.Semaphore(1)
        self._rests = Rests()
        # By embedder. Some servers take fewer texts at once, and say so only by refusing.
        self._texts_per_call: defaultdict[int, int] = defaultdict(lambda: TEXTS_PER_CALL)

    async def work(self) -> None:
        """Give versions what they lack, for as long as the process lasts."""
        passed: set[UUID] = set()  # what could not be done: others have their turn first
        with rings("document") as ring:
            try:
                while True:
                    versions = await self._claim(passed)
                    passed |= await self._fill_all(versions)
                    if not versions:
                        await ring(self._rests.seconds() if passed else LOOK_SECONDS)
                        passed.clear()
            finally:
                await _quietly(in_database_of_documents(vectors.leave, self.name))

    async def _claim(self, passed: set[UUID]) -> list[UUID]:
        while True:
            try:
                await in_database_of_documents(vectors.make_indexes)
                versions = await in_database_of_documents(
                    vectors.claim_lacking, self.name, limit=VERSIONS_AT_ONCE, but=passed
                )
                if not versions:
                    await in_database_of_documents(vectors.take_over)
                return versions
            except Error as error:
                logger.warning("vectors_retry", error=str(error))
                await asyncio.sleep(1)

    async def _fill_all(self, versions: Sequence[UUID]) -> set[UUID]:
        """Returns those that could not be given all that they lack."""
        tasks = {asyncio.create_task(self._fill_and_settle(version)): version for version in versions}
        try:
            waiting = set(tasks)
            while waiting:
                _, waiting = await asyncio.wait(waiting, timeout=settings.REPLY_HEARTBEAT_SECONDS)
                await _quietly(in_database_of_documents(vectors.beat, self.name))
        finally:
            for task in tasks:
                task.cancel()
        return {version for task, version in tasks.items() if not _has_succeeded(task, version)}

    async def _fill_and_settle(self, version_id: UUID) -> None:
        """Raises what the first embedder that failed did; the others make theirs all the same."""
        failures: list[Exception] = []
        for gap in await in_database_of_documents(vectors.gaps_of, version_id):
            try:
                await self.fill(gap)
            except (ProviderError, DomainError, Resting) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        await in_database_of_documents(vectors.settle, version_id)

    async def fill(self, gap: Gap, *, seconds: float | None = None, on_progress: Progress | None = None) -> None:
        """Make the vectors that are lacking; after `seconds` no more of them.

        Raises ProviderError or DomainError, which staff find at the embedder, and Resting for some time after.
        """
        embedder = gap.embedder
        self._rests.check(embedder.pk)
        try:
            await self._fill(gap, self._batches(gap, seconds), on_progress or _tell_nobody)
        except (ProviderError, DomainError) as failure:
            logger.warning("embedder_failed", embedder=embedder.pk, code=failure.code, message=failure.message)
            self._rests.begin(embedder.pk)
            await _quietly(in_database_of_documents(vectors.note_error, embedder, failure.message))
            raise
        self._rests.end(embedder.pk)
        if embedder.error:
            await _quietly(in_database_of_documents(vectors.note_error, embedder, ""))

    async def _fill(self, gap: Gap, batches: Iterator[Sequence[int]], on_progress: Progress) -> None:
        make, done = await self._maker_of(gap), 0

        async def drain() -> None:
            nonlocal done
            for places in batches:
                texts = dict(await in_database_of_documents(vectors.texts_of, gap, places))
                if not texts:
                    continue
                made = await make(list(texts.values()))
                seconds = await in_database_of_documents(_timed_store, gap, list(texts), made)
                done += len(places)
                on_progress(done, len(gap.places))
                # SQLite has one writer at a time, and others wait for their turn.
                await asyncio.sleep(seconds)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(settings.EMBEDDING_CALLS):
                    tasks.create_task(drain())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _batches(self, gap: Gap, seconds: float | None) -> Iterator[Sequence[int]]:
        at, began = 0, time.monotonic()
        while (seconds is None or time.monotonic() - began < seconds) and (
            places := gap.places[at : at + self._texts_per_call[gap.embedder.pk]]
        ):
            at += len(places)
            yield places

    async def _maker_of(self, gap: Gap) -> Callable[[list[str]], Awaitable["NDArray[np.float32]"]]:
        embedder = gap.embedder
        if embedder.kind != Embedder.Kind.PROVIDER:
            return lambda texts: self._make_here(embedder, texts)
        asked = await in_database_of_documents(asked_of, embedder)
        # Whoever uploads pays for it; that all documents are read once more is for nobody in particular.
        payer = None if embedder.state == Embedder.State.PREPARING else gap.user_id
        return lambda texts: self._ask(asked, texts, payer)

    async def _make_here(self, embedder: Embedder, texts: list[str]) -> "NDArray[np.float32]":
        async with self._turn_here:
            made = await asyncio.to_thread(local_vectors, embedder, texts)
        assert made is not None
        return made

    # ------------------------------------------------------------ asking
    async def _ask(self, asked: Asked, texts: list[str], payer: UUID | None) -> "NDArray[np.float32]":
        """The vectors of `texts`, one a row. One that the model does not take costs the others nothing."""
        made, _ = await self._ask_or_split(asked, texts, payer)
        return made

    async def _ask_or_split(
        self, asked: Asked, texts: list[str], payer: UUID | None
    ) -> tuple["NDArray[np.float32]", bool]:
        """As `_ask`, and whether it was one call."""
        import numpy as np  # noqa: PLC0415 - see `embedders`

        try:
            return await self._call(asked, texts, payer), True
        except ProviderRejected as refusal:
            if len(texts) == 1:
                return await self._ask_for_less(asked, texts[0], payer, refusal), False
        half = (len(texts) + 1) // 2
        first, first_is_one = await self._ask_or_split(asked, texts[:half], payer)
        second, second_is_one = await self._ask_or_split(asked, texts[half:], payer)
        if first_is_one and second_is_one:
            # Not one of the texts was too much, but that they were so many.
            self._texts_per_call[asked.embedder.pk] = min(half, self._texts_per_call[asked.embedder.pk])
        return np.concatenate([first, second]), False

    async def _ask_for_less(
        self, asked: Asked, text: str, payer: UUID | None, refusal: ProviderRejected
    ) -> "NDArray[np.float32]":
        """The vector of the beginning of `text`; of one that is refused in any case zeros, near to nothing."""
        import numpy as np  # noqa: PLC0415 - see `embedders`

        for _ in range(SHORTENED):
            text = text[: len(text) // 2]
            try:
                return await self._call(asked, [text], payer)
            except ProviderRejected:
                continue
        try:
            await self._call(asked, [SAMPLE], payer)
        except ProviderRejected:
            # It is not the text.
            raise refusal from None
        return np.zeros((1, asked.embedder.dimensions), dtype=np.float32)

    async def _call(self, asked: Asked, texts: Sequence[str], payer: UUID | None) -> "NDArray[np.float32]":
        """One call that has an answer, after others if need be. Raises ProviderError."""
        async with self._calls:
            done = await _with_retries(asked, texts)
        await in_database(_book, asked, done.usage, texts, user_id=payer)
        return _checked(asked, done)


async def query_vector(query: str, *, user_id: UUID) -> QueryVector | None:
    """The vector of a query where a provider makes it; None where it need not or, at the moment, can't be asked."""
    asked = await in_database_of_documents(asked_now)
    done = await ask_for_query(asked, query) if asked else None
    if asked is None or done is None:
        return None
    await in_database(book_query, asked, done, query, user_id=user_id)
    return vector_in(asked, done)


def asked_now() -> Asked | None:
    """The provider that queries need to ask; None where there is none, or it is switched off."""
    embedder = active_embedder()
    if embedder.kind != Embedder.Kind.PROVIDER:
        return None
    try:
        return asked_of(embedder)
    except Invalid as error:
        logger.warning("query_without_vector", embedder=embedder.pk, message=error.message)
        return None


async def ask_for_query(asked: Asked, query: str) -> Embedded | None:
    """What the provider says to a query; None when it says nothing in time."""
    try:
        async with asyncio.timeout(settings.EMBEDDING_QUERY_SECONDS):
            return await embed(asked.target, [_asked_text(asked, query)], asked.embedder.settings, asked.limits)
    except (ProviderError, TimeoutError) as failure:
        message = failure.message if isinstance(failure, ProviderError) else "It took too long."
        logger.warning("query_without_vector", embedder=asked.embedder.pk, message=message)
        return None


def book_query(asked: Asked, done: Embedded, query: str, *, user_id: UUID, chat_id: UUID | None = None) -> None:
    """Book a call that `ask_for_query` made."""
    _book(asked, done.usage, [_asked_text(asked, query)], user_id=user_id, chat_id=chat_id)


def vector_in(asked: Asked, done: Embedded) -> QueryVector | None:
    """The vector in an answer; None when it is no longer like those of the documents."""
    is_like = done.vectors.shape[1] == asked.embedder.dimensions
    return QueryVector(asked.embedder.pk, done.vectors[0]) if is_like else None


def _asked_text(asked: Asked, query: str) -> str:
    return f"{asked.embedder.query_prefix}{query}"


def has_remote_embedder() -> bool:
    """Whether queries need a call of a provider."""
    return active_embedder().kind == Embedder.Kind.PROVIDER


def choose_embedder(staff: User, model: AIModel, **prefixes: str) -> choosing.Chosen:
    """As `choosing.choose_model`; its trial is booked for `staff`."""

    def book(asked: Asked, done: Embedded) -> None:
        _book(asked, done.usage, [choosing.SAMPLE], user_id=staff.pk)

    return choosing.choose_model(model, book=book, **prefixes)


async def _with_retries(asked: Asked, texts: Sequence[str]) -> Embedded:
    for attempt in itertools.count():
        try:
            return await embed(asked.target, texts, asked.embedder.settings, asked.limits)
        except ProviderError as error:
            pause = pause_before_retry(error, attempt)
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("an attempt returns or raises")


def _checked(asked: Asked, done: Embedded) -> "NDArray[np.float32]":
    length = done.vectors.shape[1]
    if length != asked.embedder.dimensions:
        raise ProviderNonsense(
            f"«{asked.model}» makes vectors of {length} numbers now, and made {asked.embedder.dimensions} when it was"
            " chosen. Choose it again."
        )
    return done.vectors


def _book(
    asked: Asked, usage: Usage | None, texts: Sequence[str], *, user_id: UUID | None, chat_id: UUID | None = None
) -> None:
    record_embedding(
        user_id=user_id,
        chat_id=chat_id,
        model=asked.model,
        price=asked.price,
        usage=usage or Usage(input_tokens=sum(estimated_tokens(text) for text in texts)),
        is_estimated=usage is None,
    )


def _has_succeeded(task: asyncio.Task[None], version: UUID) -> bool:
    match task.exception():
        case None:
            return True
        case ProviderError() | DomainError() | Resting():
            pass  # it is at the embedder
        case Error() as error:
            logger.warning("vectors_cut", version=str(version), error=str(error))
        case failure:
            logger.error("vectors_failed", version=str(version), exc_info=failure)
    return False


def _timed_store(gap: Gap, places: list[int], made: "NDArray[np.float32]") -> float:
    """Returns how many seconds it took."""
    began = time.monotonic()
    vectors.store(gap, places, made)
    return time.monotonic() - began


def _tell_nobody(_done: int, _total: int) -> None:
    pass


async def _quietly(work: Awaitable[object]) -> None:
    """What may as well not be said while the database is away."""
    try:
        await work
    except AWAY as error:
        logger.warning("vectors_not_told", error=str(error))
