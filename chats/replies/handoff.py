"""Where a new reply is run: by the engine of this process, without a detour, or else by a worker elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction

from chats import doorbell

if TYPE_CHECKING:
    from chats.replies.lease import Job


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
    """Have a waiting reply run once this transaction is committed: here, or else by the first worker that is free."""
    tell = doorbell.ring if _Present.engine is None else doorbell.deliver
    transaction.on_commit(partial(tell, "waiting", str(reply_id)))
