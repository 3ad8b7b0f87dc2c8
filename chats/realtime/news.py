"""News of chats for all sockets of this process. However many tabs watch, what rings together is read once.

A reader is handed the last state of each chat, never a history: one that is slow skips what is outdated.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from uuid import UUID

import orjson
import structlog
from django.db import Error

from chats import doorbell
from chats.replies.background import lasting
from chats.replies.database import in_database
from chats.replies.notices import Notice, answering_chats, notices_of

logger = structlog.get_logger(__name__)

# What changes together is told together.
PAUSE_SECONDS = 0.25
# Rings may be lost on their way from another node; then this finds out that an answer has begun or ended.
RECHECK_SECONDS = 5.0
RETRY_SECONDS = 1.0


class Reader:
    """One socket: it hears of its chat, if it has one, and once it watches of all chats of its person."""

    def __init__(self, user_id: UUID, chat_id: UUID | None) -> None:
        self.user_id, self.chat_id = user_id, chat_id
        self.is_watching = False
        self._news: dict[UUID, str] = {}
        self._has_some = asyncio.Event()

    def wants(self, chat_id: UUID) -> bool:
        return self.is_watching or chat_id == self.chat_id

    def put(self, chat_id: UUID, text: str) -> None:
        self._news[chat_id] = text
        self._has_some.set()

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._has_some.wait()

    def take(self) -> list[str]:
        """What there is to say, as JSON, of each chat once."""
        self._has_some.clear()
        news, self._news = self._news, {}
        return list(news.values())


class News:
    def __init__(self) -> None:
        self._readers: dict[UUID, set[Reader]] = {}  # by person
        self._rung: set[UUID] = set()
        self._answering: dict[UUID, bool] = {}  # as those who watch were told; true: it waits for its person
        self._has_rung: asyncio.Event
        self._end: list[Callable[[], object]] = []

    def add(self, reader: Reader) -> None:
        if not self._readers:
            self._has_rung = asyncio.Event()
            self._end = [
                doorbell.listen("chat", self._on_ring),
                asyncio.create_task(lasting(self._tell)).cancel,
                asyncio.create_task(lasting(self._recheck)).cancel,
            ]
        self._readers.setdefault(reader.user_id, set()).add(reader)

    def discard(self, reader: Reader) -> None:
        of_person = self._readers.get(reader.user_id, set())
        of_person.discard(reader)
        if of_person:
            return
        self._readers.pop(reader.user_id, None)
        if not self._readers:
            for end in self._end:
                end()
            self._end = []
            self._rung.clear()
            self._answering.clear()

    def note_answering(self, chats: Mapping[UUID, bool]) -> None:
        """A reader was told that these are answering, and which of them wait."""
        self._answering.update(chats)

    def _on_ring(self, chat_id: str) -> None:
        self.look_at({UUID(chat_id)})

    def look_at(self, chat_ids: set[UUID]) -> None:
        """Tell whoever wants to know how these stand, whether they changed or not."""
        if chat_ids:
            self._rung |= chat_ids
            self._has_rung.set()

    async def _tell(self) -> None:
        """Runs for as long as there are readers."""
        while True:
            await self._has_rung.wait()
            self._has_rung.clear()
            asked, self._rung = self._rung, set()
            try:
                notices = await in_database(notices_of, asked)
            except Error as error:
                logger.warning("news_retry", error=str(error))
                self.look_at(asked)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for chat_id in asked:
                self._answering.pop(chat_id, None)
            for notice in notices:
                self._hand_out(notice)
            await asyncio.sleep(PAUSE_SECONDS)

    def _hand_out(self, notice: Notice) -> None:
        readers = [reader for reader in self._readers.get(notice.user_id, ()) if reader.wants(notice.chat_id)]
        if not readers:
            return
        text = orjson.dumps(notice.event).decode()
        for reader in readers:
            reader.put(notice.chat_id, text)
        if notice.is_answering and any(reader.is_watching for reader in readers):
            self._answering[notice.chat_id] = notice.is_waiting

    async def _recheck(self) -> None:
        """Runs for as long as there are readers."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            watching = [user_id for user_id, of in self._readers.items() if any(reader.is_watching for reader in of)]
            # An outage of the database ends by itself, and the next round finds out.
            with suppress(Error):
                answering = await in_database(answering_chats, watching) if watching else {}
                # Those that have begun or ended, and those that wait or go on.
                self.look_at({chat_id for chat_id, _ in answering.items() ^ self._answering.items()})


NEWS = News()
