"""Where a new reply is run: by the engine of this process, without a detour, or else by whoever fetches its job."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction

from chats import doorbell

if TYPE_CHECKING:
    from chats.replies.rows import Job


@dataclass(frozen=True)
class Engine:
    """`worker` names it in rows; `take` may be called from any thread and never waits."""

    worker: str
    take: "Callable[[Job], None]"


class _Present:
    engine: Engine | None = None


def engine() -> Engine | None:
    return _Present.engine


def set_engine(engine: Engine | None) -> None:
    """Called by the engine when it starts, and with None when it takes no more work."""
    _Present.engine = engine


def enqueue(reply_id: UUID) -> None:
    """Have a waiting reply run once this transaction is committed: here, or by the first worker that is free."""
    if _Present.engine is None and settings.IS_CLUSTER:
        from chats.replies import jobs  # noqa: PLC0415 - there are jobs on PostgreSQL only

        jobs.defer(reply_id)
    else:
        transaction.on_commit(partial(doorbell.ring, "waiting", reply_id))
