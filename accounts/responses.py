"""The page for people who were too quick. It says the same to everyone, whatever they tried."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.errors import TooMany

DEFAULT_RETRY_AFTER_SECONDS = 60


def too_many(request: HttpRequest, error: Exception | None = None) -> HttpResponse:
    """429 with Retry-After. Also `handler429` of the site, which django-allauth calls for its own limits."""
    seconds = error.retry_after_seconds if isinstance(error, TooMany) else DEFAULT_RETRY_AFTER_SECONDS
    response = render(request, "429.html", status=429)
    response.headers["Retry-After"] = str(seconds)
    return response
