"""Where a long list goes on: after which moment and which of the rows that share it."""

from datetime import datetime
from uuid import UUID

from django.utils import timezone


def place_of(moment: datetime, pk: UUID) -> str:
    """The place after this row, for an address."""
    return f"{moment.isoformat()}_{pk}"


def parse_place(place: str) -> tuple[datetime, UUID] | None:
    """Where to go on; None for the beginning, and for what no list of ours said."""
    moment, _, pk = place.partition("_")
    try:
        parsed = datetime.fromisoformat(moment), UUID(pk)
    except ValueError:
        return None
    return parsed if timezone.is_aware(parsed[0]) else None
