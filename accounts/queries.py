"""One row by what is unique about it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.db.models import Field, Model, QuerySet

from accounts.errors import NotFound

Row = TypeVar("Row", bound=Model)
RawQuery = Callable[[Sequence[Any]], Iterable[Row]]  # takes the values for its placeholders
Blank = tuple[int, int, Callable[[UUID], Any]]  # a place among the values, which id belongs there, and in what form


class Prepared(Generic[Row]):
    """The first of a queryset that every send asks for: its SQL is written once, later calls only fill in their ids.

    The ORM takes several times as long to write such a query as the database to answer it. `build(*ids)` makes the
    queryset, without `select_related`; the ids may stand in it as they are or as text, and all else must be constant.
    """

    def __init__(self, build: Callable[..., QuerySet[Row, Row]]) -> None:
        self._build = build
        self._written: tuple[RawQuery[Row], list[Any], list[Blank]] | None = None

    def first(self, *ids: UUID) -> Row | None:
        ask, params, blanks = self._written or self._write(count=len(ids))
        filled = params.copy()
        for position, number, adapt in blanks:
            filled[position] = adapt(ids[number])
        return next(iter(ask(filled)), None)

    def _write(self, *, count: int) -> tuple[RawQuery[Row], list[Any], list[Blank]]:
        marks = [uuid4() for _ in range(count)]
        rows = self._build(*marks)
        sql, params = rows.query.sql_with_params()
        meaning = {form(mark): (number, form) for number, mark in enumerate(marks) for form in (str, _as_stored)}
        blanks: list[Blank] = [(place, *meaning[param]) for place, param in enumerate(params) if param in meaning]
        written = partial(rows.model._base_manager.raw, sql), list(params), blanks
        self._written = written
        return written


def _as_stored(value: UUID) -> Any:
    return value if connection.features.has_native_uuid_field else value.hex


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
