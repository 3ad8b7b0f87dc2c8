"""How often the API may be asked."""

from rest_framework.request import Request

from accounts.allowance import count_peer, count_person


def count_request(request: Request) -> None:
    """Authenticate, and count the request. Raises TooMany, or what is wrong with the credential."""
    try:
        user = request.user
    except Exception:
        # Guessing at credentials must cost the guesser his allowance.
        count_peer(request)
        raise
    if user.is_authenticated:
        count_person(user.pk)
    else:
        count_peer(request)
