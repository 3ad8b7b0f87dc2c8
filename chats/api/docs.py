"""The schema and two pages that show it, all from this server. API_DOCS_ENABLED switches them off."""

from collections.abc import Callable
from functools import cache, wraps

import orjson
from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from accounts.errors import NotFound
from chats.api import errors

View = Callable[[HttpRequest], HttpResponse]

# Both viewers write their styles at run time; nothing but their own files may run.
_PAGE_POLICY = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "font-src": [SELF, "data:"],
    "connect-src": [SELF],
    "worker-src": [SELF, "blob:"],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [NONE],
}


def _if_enabled(view: View) -> View:
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if not settings.API_DOCS_ENABLED:
            return errors.answer(
                errors.problem_of_domain(NotFound("The documentation is switched off on this server."))
            )
        return view(request)

    return require_safe(checked)


@_if_enabled
def openapi(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(_schema(), "application/json", headers={"X-Request-ID": errors.request_id()})


@cache
def _schema() -> bytes:
    # It takes half a second of a core and is the same for everyone until the next start.
    return orjson.dumps(SchemaGenerator().get_schema(request=None, public=True))


@csp_replace(_PAGE_POLICY)
@_if_enabled
def swagger(request: HttpRequest) -> HttpResponse:
    return render(request, "api/swagger.html")


@csp_replace(_PAGE_POLICY)
@_if_enabled
def redoc(request: HttpRequest) -> HttpResponse:
    return render(request, "api/redoc.html")
