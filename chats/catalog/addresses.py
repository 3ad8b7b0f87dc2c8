"""Which provider addresses are acceptable: those the outbound policy lets staff choose and the operator allows."""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

from accounts.outbound import STAFF_POLICY, USUAL_PORTS, AddressDenied

NOT_ALLOWED = "The operator allows no provider at this address (PROVIDER_ALLOWED_HOSTS)."


def clean_base_url(url: str) -> str:
    """The address without surrounding blanks and trailing slashes. Raises ValidationError saying what to correct."""
    url = url.strip().rstrip("/")
    try:
        STAFF_POLICY.check_url(url)
    except AddressDenied as error:
        raise ValidationError(str(error)) from None
    if "?" in url:
        raise ValidationError("Enter the address without what follows the question mark, up to /v1.")
    if not is_allowed(url):
        raise ValidationError(NOT_ALLOWED)
    return url


def is_allowed(url: str) -> bool:
    """Whether the operator's list names the address's host, or host:port. An empty list allows every address."""
    if not url or not settings.PROVIDER_ALLOWED_HOSTS:
        return True
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or USUAL_PORTS[parts.scheme]
    return not {host, f"{host}:{port}"}.isdisjoint(name.lower() for name in settings.PROVIDER_ALLOWED_HOSTS)
