"""Settings of sign-in that would let in the wrong people are refused at start, with a hint."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def check_oidc(**_kwargs: Any) -> list[CheckMessage]:
    if not settings.OIDC_ISSUER:
        return []
    return [*_check_scope(), *_check_algorithms(), *_check_addresses()]


def _check_scope() -> list[CheckMessage]:
    if settings.OIDC_CLIENT_IDS or settings.OIDC_AUDIENCE:
        return []
    return [
        Error(
            "Any token of the OIDC issuer would be accepted, also one made for another application.",
            hint="Set OIDC_CLIENT_ID (as for Cognito) or OIDC_AUDIENCE.",
            id="accounts.E001",
        )
    ]


def _check_algorithms() -> list[CheckMessage]:
    if settings.OIDC_ALGORITHMS and not any(a.upper().startswith(("HS", "NONE")) for a in settings.OIDC_ALGORITHMS):
        return []
    return [
        Error(
            "OIDC_ALGORITHMS must name signatures with a public key.",
            hint="Use RS256, or what your issuer signs with: ES256, PS256, EdDSA.",
            id="accounts.E002",
        )
    ]


def _check_addresses() -> list[CheckMessage]:
    addresses = {"OIDC_ISSUER": settings.OIDC_ISSUER, "OIDC_JWKS_URL": settings.OIDC_JWKS_URL}
    allowed = ("https",) if settings.IS_PRODUCTION else ("https", "http")
    return [
        Error(f"{name} must be an https address.", hint=f"It is {address!r}.", id="accounts.E003")
        for name, address in addresses.items()
        if address and urlsplit(address).scheme not in allowed
    ]
