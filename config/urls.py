"""Every address of the site."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase
from django.urls import include, path, re_path
from django.views import defaults

from chats.api import errors as api_errors

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.entrance_urls")),
    path("settings/", include("accounts.urls")),
    path("api/v1/", include("chats.api.urls")),
    re_path(r"^api/", api_errors.unknown_address),
    path("", include("chats.pages.urls")),
]


def handler400(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    is_api = request.path.startswith("/api/")
    return api_errors.bad_request(request, exception) if is_api else defaults.bad_request(request, exception)


def handler500(request: HttpRequest) -> HttpResponseBase:
    is_api = request.path.startswith("/api/")
    return api_errors.server_error(request) if is_api else defaults.server_error(request)


handler429 = "accounts.responses.too_many"  # django-allauth asks for it
