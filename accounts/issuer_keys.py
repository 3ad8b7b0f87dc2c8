"""The public keys of the OIDC issuer, fetched from the operator's address and kept.

Whoever sends tokens can't make us fetch: an unknown key id leads to at most one fetch in
OIDC_KEYS_REFRESH_SECONDS, and so does an issuer that is down. Known keys outlive an outage of the issuer.
"""

import json
import threading
import time
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, HTTPHandler, HTTPSHandler, OpenerDirector, Request

import jwt
from django.conf import settings

from accounts.errors import IssuerUnavailable, Unauthenticated
from accounts.outbound import STAFF_POLICY

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
COGNITO_HOST_PREFIX: Final = "cognito-idp."
_lock: Final = threading.Lock()


def key_for(key_id: str) -> jwt.PyJWK:
    """The issuer's key of this id. Raises Unauthenticated when there is none, IssuerUnavailable when nobody knows."""
    try:
        # Alone: of requests that come at once each would make a client of its own, and that one its own fetch.
        with _lock:
            client = _client(
                settings.OIDC_ISSUER,
                settings.OIDC_JWKS_URL,
                settings.OIDC_KEYS_CACHE_SECONDS,
                settings.OIDC_KEYS_REFRESH_SECONDS,
            )
        return client.get_signing_key(key_id)
    except jwt.PyJWKClientConnectionError as error:
        raise IssuerUnavailable from error
    except jwt.PyJWKClientError as error:
        raise Unauthenticated from error


class IssuerKeys(jwt.PyJWKClient):
    """PyJWT's client (one lock, a cache, a pause between forced refreshes) with a careful way to fetch."""

    def __init__(self, issuer: str, jwks_url: str, *, cache_seconds: float, refresh_seconds: float) -> None:
        super().__init__(jwks_url or issuer, lifespan=cache_seconds, cooldown_duration=refresh_seconds)
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._last_good: dict[str, Any] | None = None
        self._failed_at: float | None = None

    def fetch_data(self) -> dict[str, Any]:
        document = self._last_good if self._is_pausing() else self._fetch_or_last_good()
        if document is None:
            raise jwt.PyJWKClientConnectionError("The issuer's keys can't be fetched.")
        assert self.jwk_set_cache is not None
        self.jwk_set_cache.put(document)
        self._last_successful_fetch = time.monotonic()
        return document

    def _is_pausing(self) -> bool:
        return self._failed_at is not None and time.monotonic() - self._failed_at < self.cooldown_duration

    def _fetch_or_last_good(self) -> dict[str, Any] | None:
        try:
            document = _fetch_json(self._jwks_url or _discover_jwks_url(self._issuer))
            jwt.PyJWKSet.from_dict(document)
        except (OSError, HTTPException, ValueError, RecursionError, jwt.PyJWTError):
            self._failed_at = time.monotonic()
            return self._last_good
        self._failed_at = None
        self._last_good = document
        return document


@lru_cache(maxsize=4)
def _client(issuer: str, jwks_url: str, cache_seconds: float, refresh_seconds: float) -> IssuerKeys:
    return IssuerKeys(issuer, jwks_url, cache_seconds=cache_seconds, refresh_seconds=refresh_seconds)


def _discover_jwks_url(issuer: str) -> str:
    """Where the issuer keeps its keys: as Cognito does, else as its OpenID configuration says."""
    base = issuer.rstrip("/")
    if (urlsplit(issuer).hostname or "").startswith(COGNITO_HOST_PREFIX):
        return f"{base}/.well-known/jwks.json"
    document = _fetch_json(f"{base}/.well-known/openid-configuration")
    if document.get("issuer") != issuer or not isinstance(document.get("jwks_uri"), str):
        raise ValueError("This is not the configuration of the issuer.")
    return str(document["jwks_uri"])


def _fetch_json(url: str) -> dict[str, Any]:
    """A JSON object from `url`. Raises OSError, HTTPException or ValueError for whatever else comes."""
    _check_address(url)
    # Only these handlers: no redirects, no proxy from the environment, no file:// or ftp://.
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), _OnlyOk()):
        opener.add_handler(handler)
    with opener.open(Request(url), timeout=settings.OIDC_KEYS_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked
        document = json.loads(_read_body(response))
    if not isinstance(document, dict):
        raise ValueError("The answer of the issuer is not a JSON object.")  # noqa: TRY004 - the wire's fault
    return document


def _read_body(response: Any) -> bytes:
    """All of the answer. The socket's timeout bounds one read, so the whole is watched here."""
    deadline = time.monotonic() + settings.OIDC_KEYS_TIMEOUT_SECONDS
    body = b""
    while chunk := response.read1(65_536):
        body += chunk
        if len(body) > settings.OIDC_KEYS_MAX_BYTES or time.monotonic() > deadline:
            raise ValueError("The answer of the issuer is too large or too slow.")
    return body


def _check_address(url: str) -> None:
    parts = STAFF_POLICY.check_url(url)
    is_local_trial = parts.hostname in LOCAL_HOSTS and not settings.IS_PRODUCTION
    if parts.scheme != "https" and not is_local_trial:
        raise ValueError("The issuer's keys are fetched over https only.")


class _OnlyOk(HTTPErrorProcessor):
    """Every status but 200, a redirect included, is an error."""

    def http_response(self, request: Request, response: Any) -> Any:  # noqa: ARG002 - urllib's signature
        if response.status != 200:
            response.close()
            raise URLError(f"The issuer answered {response.status}.")
        return response

    https_response = http_response
