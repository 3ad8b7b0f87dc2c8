"""Django's PostgreSQL backend, whose pool is over a restart of the server at once.

The pool's own check finds dead connections one by one, and waits 1, 2, 4, 8 … seconds after each. When all of them died
together, as they do when the server restarts or a proxy is replaced, a request would wait for half a minute and fail.
So the first that is found dead takes all the others with it, unless that has just been done.
"""

import time
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from config.postgresql.connection import Connection

TRIES = 5
REPLACED_SECONDS = 1.0


class _Pool:
    replaced_at = -REPLACED_SECONDS


class DatabaseWrapper(base.DatabaseWrapper):
    """Its settings leave CONN_HEALTH_CHECKS off: connections are checked here as they are taken."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self.settings_dict["OPTIONS"]["pool"]["connection_class"] = Connection

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        """A connection that has just answered. Raises psycopg's OperationalError."""
        for _ in range(TRIES):
            connection = self._taken(conn_params)
            if not self.pool or self._answers(connection):
                return connection
            self.pool.putconn(connection)
            if time.monotonic() > _Pool.replaced_at + REPLACED_SECONDS:
                _Pool.replaced_at = time.monotonic()
                self.pool.drain()
        raise OperationalError(f"{TRIES} connections in a row were dead.")

    def _answers(self, connection: Any) -> bool:
        try:
            with connection.impatient(settings.DATABASE_POOL_ASK_SECONDS):
                self.pool.check_connection(connection)
        except OperationalError:
            return False
        return True

    def _taken(self, conn_params: dict[str, Any]) -> Connection:
        """What the pool gives, asked every few seconds: it connects when somebody asks, not while somebody waits."""
        deadline = time.monotonic() + settings.DATABASE_POOL_WAIT_SECONDS
        while True:
            try:
                taken: Connection = super().get_new_connection(conn_params)
            except PoolTimeout:
                if time.monotonic() >= deadline:
                    raise
            else:
                return taken
