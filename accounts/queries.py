"""One row by what is unique about it."""

from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.db.models import Field, Model, QuerySet

from accounts.errors import NotFound

Row = TypeVar("Row", bound=Model)


def one_or_none(rows: QuerySet[Row, Row], **which: Any) -> Row | None:
    """The only one of `rows` that is so, or None. Cheaper than `first()`, which sorts what can be only one."""
    try:
        return rows.get(**which)
    except ObjectDoesNotExist:
        return None


def stored(model: type[Model], field: str, value: Any) -> Any:
    """`value` as the database keeps it in that column, for the few queries that are written by hand."""
    column = model._meta.get_field(field)
    assert isinstance(column, Field)
    return column.get_db_prep_value(value, connection)


def found(rows: QuerySet[Row, Row], **which: Any) -> Row:
    """As `one_or_none`, among the rows a person may see. Raises NotFound: foreign and missing look alike."""
    row = one_or_none(rows, **which)
    if row is None:
        raise NotFound
    return row
