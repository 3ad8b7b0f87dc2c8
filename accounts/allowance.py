"""How often programs may ask: a person from anywhere, and a network peer that nobody vouches for.

What programs ask in whatever way counts together, so that another way in is not another allowance.
"""

from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from accounts import limits
from accounts.peers import peer_of


def count_person(user_id: UUID) -> None:
    """Raises TooMany."""
    limits.hit("api-user", str(user_id), limit=settings.API_REQUESTS_PER_MINUTE_PER_USER, seconds=60)


def count_peer(request: HttpRequest) -> None:
    """Raises TooMany."""
    limits.hit("api-peer", peer_of(request), limit=settings.API_REQUESTS_PER_MINUTE_PER_PEER, seconds=60)
