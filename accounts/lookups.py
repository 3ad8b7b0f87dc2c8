"""Filters of the admin come from the address bar: what makes no sense there is a filter that does not apply."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import DataError
from django.http import HttpRequest

# Years beyond the calendar, numbers beyond 64 bits, NUL: each database refuses them with an error of its own.
SENSELESS = (ValueError, OverflowError, DataError)


class CarefulChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        try:
            super().get_results(request)
        except SENSELESS as error:
            raise IncorrectLookupParameters(error) from error


class CarefulLookups(admin.ModelAdmin):
    """For every table of the admin: Django answers a filter it can't make sense of by showing the list without it."""

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ARG002 - Django's signature
        return CarefulChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # A pattern can keep a thread busy for ever, and a broken one is an error of the database's own.
        return not lookup.endswith("regex") and super().lookup_allowed(lookup, value, request)
