"""How the OpenAPI document describes the ways to identify oneself."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.api_authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:  # noqa: ARG002 - spectacular's
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A personal API key (`parley_…`), or an access token of the configured OIDC issuer.",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.api_authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:  # noqa: ARG002 - spectacular's
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "The site's own pages."}
