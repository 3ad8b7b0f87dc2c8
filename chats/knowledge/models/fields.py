"""Columns that PostgreSQL has a type for and SQLite has not: the same field, stored as each can search it."""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

HAS_VECTOR = "SELECT to_regtype('vector') IS NOT NULL"


class TermsField(models.TextField):
    """The search terms of a text, with blanks between them: a `tsvector`, or text that an FTS5 table reads.

    Terms are made by `chats.knowledge.terms`, so that both databases look for the same ones.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "tsvector" if connection.vendor == "postgresql" else "text"

    def get_placeholder(self, _value: Any, _compiler: Any, connection: BaseDatabaseWrapper) -> str:
        return "array_to_tsvector(string_to_array(%s, ' '))" if connection.vendor == "postgresql" else "%s"


class VectorsField(models.BinaryField):
    """Vectors as bytes (`chats.knowledge.packed`), or a single one as a `vector` where the server has pgvector."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "vector" if has_vector_type(connection) else super().db_type(connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        # A vector is written as text.
        return value if isinstance(value, str) else super().get_db_prep_value(value, connection, prepared)


def has_vector_type(connection: BaseDatabaseWrapper) -> bool:
    """Whether columns can be of pgvector's type: at the moment of the migration that makes them."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(HAS_VECTOR)
        (answer,) = cursor.fetchone()
    return bool(answer)
