"""Columns that lists in the admin share."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format


def moment(field: str) -> Callable[[Any], str]:
    """The column of a datetime, short enough to stay on one line."""

    # Ids grow with time, and the primary key is an index.
    @admin.display(ordering="id" if field == "created_at" else field)
    def column(row: Any) -> str:
        value = getattr(row, field)
        return date_format(timezone.localtime(value), "j M Y, H:i") if value else "-"

    column.__name__ = field
    return column
