"""How DRF learns who is asking. `request.auth` is the `Principal`."""

from typing import Final

from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.authentication import Principal, authenticate_bearer
from accounts.errors import Unauthenticated
from accounts.models import User

SCHEME: Final = "bearer"


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer` with an API key or an OIDC access token. A wrong one is refused, whatever else comes."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != SCHEME:
            return None
        try:
            principal = authenticate_bearer(token.strip())
        except Unauthenticated as error:
            # DRF's own class, so that it adds the WWW-Authenticate header.
            raise AuthenticationFailed(error.message, code=error.code) from error
        return principal.user, principal

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return 'Bearer realm="api"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The site's own pages, by cookie and with a CSRF token for what changes something."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        return found[0], Principal(found[0], "session", str(request.session.session_key))
