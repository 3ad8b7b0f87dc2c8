"""What every page of a signed-in person has in common: who may enter, how a refusal looks, and whose clock it is."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import wraps
from typing import Concatenate, Final, ParamSpec
from zoneinfo import ZoneInfo

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django_htmx.middleware import HtmxDetails

from accounts import errors
from accounts.models import User

P = ParamSpec("P")

STATUSES: Final = {
    errors.Invalid: 400,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.TooMany: 429,
}
SIGNED_OUT: Final = "You are signed out. Sign in again in another tab, then repeat this; your text stays here."


class PageRequest(HttpRequest):
    """A request as the middleware hands it on, of someone who is signed in."""

    user: User
    htmx: HtmxDetails


PageView = Callable[Concatenate[PageRequest, P], HttpResponse]


def page(view: PageView[P]) -> PageView[P]:
    """A page for people who are signed in, never cached, at their own time of day. Refusals of verbs become pages."""

    @never_cache
    @wraps(view)
    def guarded(request: PageRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.user.is_authenticated:
            return _ask_to_sign_in(request)
        with timezone.override(_zone_of(request)):
            try:
                return view(request, *args, **kwargs)
            except errors.DomainError as error:
                return _refuse(request, error)

    return guarded


def status_of(error: errors.DomainError) -> int:
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 400)


def _ask_to_sign_in(request: PageRequest) -> HttpResponse:
    if request.htmx:
        return HttpResponse(SIGNED_OUT, status=401, content_type="text/plain; charset=utf-8")
    return redirect_to_login(request.get_full_path())


def _refuse(request: PageRequest, error: errors.DomainError) -> HttpResponse:
    """A sentence for a script, which shows it where the person is; a page for everyone else."""
    if request.htmx:
        response = HttpResponse(error.message, content_type="text/plain; charset=utf-8")
    else:
        response = render(request, "errors/refused.html", {"error": error})
    response.status_code = status_of(error)
    if isinstance(error, errors.TooMany):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _zone_of(request: HttpRequest) -> tzinfo:
    """The browser's time zone, which a script keeps in a cookie; UTC until it has run."""
    try:
        return ZoneInfo(request.COOKIES["timezone"])
    except (KeyError, ValueError, OSError):
        return UTC
