"""The engine of this process, when it runs one: a reply that is started here is run here, without a detour.

Elsewhere a reply waits in its row until a worker claims it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from chats.replies.rows import Job


@dataclass(frozen=True)
class Engine:
    """`worker` names it in rows; `take` may be called from any thread and never waits."""

    worker: str
    take: Callable[[Job], None]


class _Present:
    engine: Engine | None = None


def engine() -> Engine | None:
    return _Present.engine


def set_engine(engine: Engine | None) -> None:
    """Called by the engine when it starts, and with None when it takes no more work."""
    _Present.engine = engine
