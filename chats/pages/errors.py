"""Pages for what went wrong."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def csrf_failure(request: HttpRequest, **_: str) -> HttpResponse:
    """A form whose token is missing or old, most often because the page was left open over a sign-in."""
    return render(request, "403_csrf.html", status=403)
