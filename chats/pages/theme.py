"""Light, dark, or as the system has it: remembered in a cookie, and with the person who is signed in."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from accounts.services import THEMES, update_profile

REMEMBERED_SECONDS = 365 * 24 * 3600


def _back_from(request: HttpRequest) -> str:
    address = request.POST.get("next", "/")
    is_ours = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if is_ours else "/"


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    theme = request.POST.get("theme")
    theme = theme if theme in THEMES else "system"
    if request.user.is_authenticated:
        update_profile(request.user, preferences={"theme": theme})
    response = HttpResponseRedirect(_back_from(request))
    response.set_cookie("theme", theme, max_age=REMEMBERED_SECONDS, samesite="Lax", secure=request.is_secure())
    return response
