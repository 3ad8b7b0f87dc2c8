"""Which provider addresses are acceptable: well formed, without secrets, and allowed by the operator."""

import re
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

_UNSAFE = re.compile(r"[\s\\\x00-\x1f\x7f]")


def clean_base_url(url: str) -> str:
    """The address without surrounding blanks and trailing slashes. Raises ValidationError saying what to correct."""
    url = url.strip().rstrip("/")
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError("Enter a full address that starts with http:// or https://.")
    if "@" in parts.netloc:
        raise ValidationError("Leave user name and password out of the address; the key has its own field.")
    if "?" in url or "#" in url:
        raise ValidationError("Enter the address without ? or #: only the part up to /v1.")
    if not is_allowed(url):
        raise ValidationError("The operator allows no provider at this address (PROVIDER_ALLOWED_HOSTS).")
    return url


def is_allowed(url: str) -> bool:
    """Whether the operator's list names the address's host, or host:port. An empty list allows every address."""
    if not settings.PROVIDER_ALLOWED_HOSTS:
        return True
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return not {host, f"{host}:{port}"}.isdisjoint(name.lower() for name in settings.PROVIDER_ALLOWED_HOSTS)


def _split(url: str) -> SplitResult:
    try:
        if _UNSAFE.search(url):
            raise ValueError
        parts = urlsplit(url)
        _ = parts.port  # parsed only when read
    except ValueError:
        raise ValidationError("This is not an address: check the spelling of host and port.") from None
    return parts
