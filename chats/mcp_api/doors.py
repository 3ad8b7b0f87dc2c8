"""Who may come in: programs with a key or a token of their own. No browser's session counts, whatever cookie comes."""

from django.conf import settings
from django.http import HttpRequest

from accounts.allowance import count_peer, count_person
from accounts.authentication import Principal, authenticate_bearer
from accounts.errors import DomainError, Unauthenticated
from chats.errors import Forbidden


def check_origin(request: HttpRequest) -> None:
    """Raise Forbidden for a page of another site, which may reach this one through its visitor's browser.

    Programs send no Origin. https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#security-warning
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    scheme, _, place = origin.lower().partition("://")
    is_ours = scheme == "https" or (scheme == "http" and not settings.SESSION_COOKIE_SECURE)
    is_same_site = is_ours and place == request.get_host().lower()
    if not is_same_site and (not settings.FRONTEND_HOST or origin.rstrip("/") != settings.FRONTEND_HOST):
        raise Forbidden("Pages of other sites may not come in here.")


def come_in(request: HttpRequest) -> Principal:
    """Who asks; the request is counted with those of the API. Raises Unauthenticated, IssuerUnavailable and TooMany."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        if kind.lower() != "bearer":
            raise Unauthenticated("Send a key as «Authorization: Bearer …». Keys are made under «API keys».")
        principal = authenticate_bearer(token.strip())
    except DomainError:
        # Guessing at keys must cost the guesser his allowance.
        count_peer(request)
        raise
    count_person(principal.user.pk)
    return principal
