"""Every address of the site, and what is answered when something is wrong with a request."""

from inspect import unwrap

from django.contrib import admin
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import include, path, re_path
from django.views import defaults

from chats.api import errors as api_errors

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.entrance_urls")),
    path("settings/", include("accounts.urls")),
    path("api/v1/", include("chats.api.urls")),
    re_path(r"^api/", api_errors.unknown_address),
    path("", include("chats.mcp_api.urls")),
    path("", include("chats.pages.urls")),
]


# Django's views for failures look for a CSRF token in the body first. A body that can't be read fails there again, and
# the page that should have said so never comes. The forms of these pages get their token all the same.
_bad_request, _forbidden = unwrap(defaults.bad_request), unwrap(defaults.permission_denied)
_not_found, _server_error = unwrap(defaults.page_not_found), unwrap(defaults.server_error)


def handler400(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if request.path.startswith("/api/"):
        return api_errors.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return render(request, "413.html", status=413)
    return _bad_request(request, exception)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _forbidden(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponseBase:
    is_api = request.path.startswith("/api/")
    return api_errors.server_error(request) if is_api else _server_error(request)


handler429 = "accounts.responses.too_many"  # django-allauth asks for it
