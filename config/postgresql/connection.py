"""A connection that is given up when PostgreSQL says nothing more.

A server that is gone with its machine, or a proxy that has forgotten the connection, refuses nothing: libpq would wait
for a quarter of an hour or for ever, and with it one of the few threads that read and write rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from psycopg.errors import _WaitTimeout


class Connection(psycopg.Connection[Any]):
    """Whatever it is asked for takes DATABASE_SILENCE_SECONDS at most; then it is closed, as a broken one is."""

    patience_seconds: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's own. Raises OperationalError."""
        limit = self.patience_seconds or settings.DATABASE_SILENCE_SECONDS
        try:
            return super().wait(gen, interval, timeout or limit)
        except _WaitTimeout as error:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"PostgreSQL has said nothing for {limit:g} seconds.") from error

    @contextmanager
    def impatient(self, seconds: float) -> Iterator[None]:
        """In here it is given up after so many seconds."""
        self.patience_seconds = seconds
        try:
            yield
        finally:
            self.patience_seconds = None
