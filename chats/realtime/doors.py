"""Who may open a socket: where the page came from, who is asking, and how a refusal is told."""

from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from accounts.authentication import Principal, authenticate_bearer, principal_of_session
from accounts.errors import DomainError, Forbidden, TooMany, Unauthenticated
from accounts.statuses import status_of

# Browsers can't set headers on a socket: a key travels as a second subprotocol, which proxies don't log.
SUBPROTOCOL = "parley"
BEARER_SUBPROTOCOL = "bearer."


def headers_of(scope: Any) -> dict[str, str]:
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise Forbidden for a page of another site: a browser would lend it our visitor's cookie.

    Programs send no Origin and carry no one's cookie by accident, so they pass.
    """
    origin = headers.get("origin")
    if origin is None:
        return
    scheme, _, place = origin.lower().partition("://")
    # Where pages are encrypted, one of this host that is not can be anyone's who sits in between.
    is_ours = scheme == "https" or (scheme == "http" and not settings.SESSION_COOKIE_SECURE)
    is_same_site = is_ours and place == headers.get("host", "").lower() != ""
    if not is_same_site and origin.rstrip("/") not in settings.CSRF_TRUSTED_ORIGINS:
        raise Forbidden("This page may not open sockets here.")


def check_host(headers: Mapping[str, str]) -> None:
    """Raise Forbidden for a host name that is not ours, so that a rebound name can't pass for the same site."""
    domain, _ = split_domain_port(headers.get("host", ""))
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        raise Forbidden("This host name is not served here.")


def principal_of(scope: Any, headers: Mapping[str, str]) -> Principal:
    """Who opens the socket, by key, token or session. Reads rows. Raises Unauthenticated."""
    token = _bearer_of(scope, headers)
    if token is not None:
        return authenticate_bearer(token)
    session_key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    principal = principal_of_session(session_key) if session_key else None
    if principal is None:
        raise Unauthenticated
    return principal


def _bearer_of(scope: Any, headers: Mapping[str, str]) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    offered = [name for name in scope.get("subprotocols", []) if name.startswith(BEARER_SUBPROTOCOL)]
    return offered[0].removeprefix(BEARER_SUBPROTOCOL) if offered else None


async def refuse(send: Any, error: DomainError) -> None:
    """Answer the handshake with the error, as plain HTTP would."""
    body = orjson.dumps({"error": {"code": error.code, "message": error.message}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, TooMany):
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    await send({"type": "websocket.http.response.start", "status": status_of(error), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
