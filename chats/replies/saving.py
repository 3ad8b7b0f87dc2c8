"""Asking the database for as long as it takes: a finished answer must not be lost to its restart."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.db import Error

from chats.replies.database import AWAY, in_database

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

RETRY_MAX_SECONDS = 2.0
REFUSALS_MAX = 5


class Saving:
    """For one reply."""

    def __init__(self, reply_id: UUID) -> None:
        self._reply_id = reply_id

    async def save(self, write: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """As `insist`, of what is written."""
        return await self.insist(partial(in_database, write, *args, **kwargs))

    async def insist(self, ask: Callable[[], Awaitable[R]]) -> R | None:
        """What comes of `ask`, which is asked again while the database is away, and so may be done twice.

        Whatever else it says is taken for final after some tries, and then this is None; whether the reply is still
        ours, what is asked knows.
        """
        refusals = 0
        for attempt in itertools.count():
            try:
                return await ask()
            except Error as error:
                refusals += not isinstance(error, AWAY)
                if refusals == REFUSALS_MAX:
                    break
                logger.warning("save_retry", reply=str(self._reply_id), attempt=attempt, error=str(error))
                await asyncio.sleep(min(RETRY_MAX_SECONDS, 0.1 * 2 ** min(attempt, 10)))
        logger.error("save_given_up", reply=str(self._reply_id))
        return None
