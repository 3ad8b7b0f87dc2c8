"""One row by what is unique about it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.core.exceptions import ObjectDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Field, Model, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql.compiler import SQLCompiler

from accounts.errors import NotFound

Row = TypeVar("Row", bound=Model)
Blank = tuple[int, int, Callable[[Any], Any]]  # a place among the parameters, which value belongs there, in what form


@dataclass(frozen=True)
class _Written(Generic[Row]):
    """A query in SQL, with the compiler that wrote it and knows how to read its rows."""

    compiler: SQLCompiler
    sql: str
    params: Sequence[Any]
    blanks: Sequence[Blank]

    def first(self, values: Sequence[Any]) -> Row | None:
        with self._asked(values) as cursor:
            row = cursor.fetchone()
        return next(iter(ModelIterable(self._answered_by([row]))), None) if row else None

    def all(self, values: Sequence[Any]) -> list[Row]:
        with self._asked(values) as cursor:
            rows = cursor.fetchall()
        return list(ModelIterable(self._answered_by(rows))) if rows else []

    @contextmanager
    def _asked(self, values: Sequence[Any]) -> Iterator[Any]:
        params = list(self.params)
        for place, number, form in self.blanks:
            params[place] = form(values[number])
        with connection.cursor() as cursor:
            cursor.execute(self.sql, params)
            yield cursor

    def _answered_by(self, rows: Sequence[Sequence[Any]]) -> Any:
        """What the ORM asks of a queryset, with the answer already there."""
        compiler: Any = copy(self.compiler)
        compiler.connection = connections[DEFAULT_DB_ALIAS]
        compiler.execute_sql = lambda **_: [rows]
        query = SimpleNamespace(get_compiler=lambda **_: compiler)
        return SimpleNamespace(db=DEFAULT_DB_ALIAS, query=query, _known_related_objects={})


class Prepared(Generic[Row]):
    """A queryset that every send asks for: its SQL is written once, later calls only fill in their values.

    The ORM takes several times as long to write such a query as the database to answer it. `build(*values)` makes the
    queryset; values are ids, which may stand in it as they are or as text, and moments. All else must be constant.
    """

    def __init__(self, build: Callable[..., QuerySet[Row, Row]]) -> None:
        self._build = build
        self._written: _Written[Row] | None = None

    def first(self, *values: UUID | datetime) -> Row | None:
        return self._sql(values).first(values)

    def all(self, *values: UUID | datetime) -> list[Row]:
        return self._sql(values).all(values)

    def _sql(self, values: Sequence[UUID | datetime]) -> _Written[Row]:
        if self._written is None:
            self._written = self._write(values)
        return self._written

    def _write(self, values: Sequence[UUID | datetime]) -> _Written[Row]:
        marks = [_mark(value, number) for number, value in enumerate(values)]
        compiler = self._build(*marks).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        converters = compiler.get_converters([expression for expression, *_ in compiler.select])
        compiler.get_converters = lambda _: converters
        meaning = {form(mark): (number, form) for number, mark in enumerate(marks) for form in _forms_of(mark)}
        blanks = [(place, *meaning[param]) for place, param in enumerate(params) if param in meaning]
        return _Written(compiler, sql, params, blanks)


def _mark(value: UUID | datetime, number: int) -> UUID | datetime:
    """A value of the same kind that stands nowhere else."""
    return uuid4() if isinstance(value, UUID) else datetime(1000, 1, 1, microsecond=number, tzinfo=UTC)


def _forms_of(mark: UUID | datetime) -> Sequence[Callable[[Any], Any]]:
    """How the database may be given a value of this kind."""
    if isinstance(mark, datetime):
        return (connection.ops.adapt_datetimefield_value,)
    return str, _uuid_as_stored


def _uuid_as_stored(value: UUID) -> Any:
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


@cache
def columns_of(model: type[Model], prefix: str = "") -> str:
    """All columns of `model` for a query that is written by hand, as `prefix` has them.

    Not `*`: a column that a newer version adds would change what a prepared statement answers, and so break it.
    """
    return ", ".join(f"{prefix}{field.column}" for field in model._meta.concrete_fields)


def found(rows: QuerySet[Row, Row], **which: Any) -> Row:
    """As `one_or_none`, among the rows a person may see. Raises NotFound: foreign and missing look alike."""
    row = one_or_none(rows, **which)
    if row is None:
        raise NotFound
    return row
