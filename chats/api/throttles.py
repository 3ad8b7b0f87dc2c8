"""How often the API may be asked: by a person from anywhere, and by a network peer that nobody vouches for."""

from django.conf import settings
from rest_framework.request import Request

from accounts import limits
from accounts.peers import peer_of


def count_request(request: Request) -> None:
    """Authenticate, and count the request. Raises TooMany, or what is wrong with the credential."""
    try:
        user = request.user
    except Exception:
        # Guessing at credentials must cost the guesser his allowance.
        _count_peer(request)
        raise
    if user.is_authenticated:
        limits.hit("api-user", str(user.pk), limit=settings.API_REQUESTS_PER_MINUTE_PER_USER, seconds=60)
    else:
        _count_peer(request)


def _count_peer(request: Request) -> None:
    limits.hit("api-peer", peer_of(request), limit=settings.API_REQUESTS_PER_MINUTE_PER_PEER, seconds=60)
