"""What every page of a signed-in person has in common: who may enter, how a refusal looks, and whose clock it is."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import wraps
from typing import Concatenate, Final, ParamSpec, cast
from zoneinfo import ZoneInfo

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django_htmx.middleware import HtmxDetails

from accounts import errors
from accounts.authentication import Principal
from accounts.models import User
from accounts.statuses import status_of

P = ParamSpec("P")

SIGNED_OUT: Final = "You are signed out. Sign in again in another tab, then repeat this; your text stays here."


class AnyRequest(HttpRequest):
    """A request as the middleware hands it on, of whoever asks."""

    htmx: HtmxDetails


class PageRequest(AnyRequest):
    """The same of someone who is signed in."""

    user: User


def principal_of(request: HttpRequest) -> Principal:
    """Who asks, and by which session; somebody is signed in."""
    return Principal(cast(User, request.user), "session", str(request.session.session_key))


def page(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
) -> Callable[Concatenate[AnyRequest, P], HttpResponseBase]:
    """A page for people who are signed in, never cached, at their own time of day. Refusals of verbs become pages."""

    @never_cache
    @wraps(view)
    def guarded(request: AnyRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _ask_to_sign_in(request)
        with timezone.override(_zone_of(request)):
            try:
                return view(cast(PageRequest, request), *args, **kwargs)
            except errors.DomainError as error:
                return _refuse(request, error)
            except OSError as error:
                if not errors.is_out_of_room(error):
                    raise
                return _refuse(request, errors.StorageFailed())

    return guarded


def _ask_to_sign_in(request: AnyRequest) -> HttpResponse:
    if request.htmx:
        return HttpResponse(SIGNED_OUT, status=401, content_type="text/plain; charset=utf-8")
    return redirect_to_login(request.get_full_path())


def _refuse(request: AnyRequest, error: errors.DomainError) -> HttpResponse:
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
