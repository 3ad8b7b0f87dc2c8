"""Where a long list goes on: after which moment and which of the rows that share it."""

from datetime import UTC, datetime
from uuid import UUID

from django.utils import timezone


def place_of(moment: datetime, pk: UUID) -> str:
    """The place after this row, for an address."""
    return f"{moment.isoformat()}_{pk}"


def parse_place(place: str) -> tuple[datetime, UUID] | None:
    """Where to go on; None for the beginning, and for what no list of ours said."""
    text, _, pk = place.partition("_")
    try:
        moment = datetime.fromisoformat(text)
        if timezone.is_naive(moment):
            return None
        return moment.astimezone(UTC), UUID(pk)
    except (ValueError, OverflowError):  # the first hours of the year 1 are no moment of UTC everywhere
        return None
