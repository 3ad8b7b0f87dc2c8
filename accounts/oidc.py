"""Access tokens of one configured OIDC issuer (Cognito, Keycloak, ...): what must hold in them, and whom they name.

Algorithm, issuer, client, audience and kind of token are fixed by the settings; the token chooses nothing but the
key's id. A person is the pair (issuer, subject). An email in a token is shown at most, never looked up: whoever can
choose an email at the issuer must not become the person who has it here.
"""

from typing import Any, Final

import jwt
from django.conf import settings

from accounts import issuer_keys, services
from accounts.errors import NoAccount, Unauthenticated
from accounts.models import Identity
from accounts.queries import one_or_none

SUBJECT_MAX_LENGTH: Final = 255
REQUIRED_CLAIMS: Final = ["iss", "sub", "exp", "iat"]
# What may be shown as a name, the best first. A Cognito access token has only `username`.
NAME_CLAIMS: Final = ("name", "preferred_username", "email", "username")


def verify(token: str) -> dict[str, Any]:
    """The claims of a token that holds in every respect. Raises Unauthenticated or IssuerUnavailable."""
    try:
        claims = _decode(token)
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unauthenticated from error
    if not (_is_for_us(claims) and _is_subject(claims["sub"])):
        raise Unauthenticated
    return claims


def identity_of(claims: dict[str, Any]) -> Identity:
    """The person of verified claims, made on first sight. Raises NoAccount when OIDC_CREATE_USERS is off."""
    known = one_or_none(Identity.objects.select_related("user"), issuer=claims["iss"], subject=claims["sub"])
    if known:
        return known
    if not settings.OIDC_CREATE_USERS:
        raise NoAccount
    return services.create_identity(issuer=claims["iss"], subject=claims["sub"], name=_name_in(claims))


def _decode(token: str) -> dict[str, Any]:
    header = jwt.get_unverified_header(token)
    if header.get("alg") not in settings.OIDC_ALGORITHMS or not isinstance(header.get("kid"), str):
        # Before any key is looked for: garbage must not make us ask the issuer.
        raise Unauthenticated
    claims = jwt.decode(
        token,
        issuer_keys.key_for(header["kid"]),
        algorithms=settings.OIDC_ALGORITHMS,
        issuer=settings.OIDC_ISSUER,
        audience=settings.OIDC_AUDIENCE or None,
        leeway=settings.OIDC_LEEWAY_SECONDS,
        # A Cognito access token has no `aud`; its client is checked instead.
        options={"require": REQUIRED_CLAIMS, "verify_aud": bool(settings.OIDC_AUDIENCE)},
    )
    return {**claims, "exp": int(claims["exp"])}


def _is_for_us(claims: dict[str, Any]) -> bool:
    if settings.OIDC_TOKEN_USE and claims.get("token_use") != settings.OIDC_TOKEN_USE:
        return False
    # `client_id` as in Cognito and RFC 9068, `azp` as in Keycloak and Auth0.
    client = claims.get("client_id", claims.get("azp"))
    return not settings.OIDC_CLIENT_IDS or client in settings.OIDC_CLIENT_IDS


def _is_subject(subject: object) -> bool:
    return isinstance(subject, str) and 0 < len(subject) <= SUBJECT_MAX_LENGTH and subject.isprintable()


def _name_in(claims: dict[str, Any]) -> str:
    return next((claims[c] for c in NAME_CLAIMS if isinstance(claims.get(c), str) and claims[c]), "")
