"""Django's PostgreSQL backend, whose pool is over a restart of the server at once.

The pool's own check finds dead connections one by one, and waits 1, 2, 4, 8 … seconds after each. When all of them died
together, as they do when the server restarts or a proxy is replaced, a request would wait for half a minute and fail.
"""

import time
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import Connection, OperationalError
from psycopg_pool import PoolTimeout

TRIES = 5


class DatabaseWrapper(base.DatabaseWrapper):
    """Its settings leave CONN_HEALTH_CHECKS off: connections are checked here as they are taken."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection[Any]:
        """A connection that has just answered. Raises psycopg's OperationalError."""
        for _ in range(TRIES):
            connection = self._taken(conn_params)
            if not self.pool:
                return connection
            try:
                self.pool.check_connection(connection)
            except OperationalError:
                self.pool.putconn(connection)
                # Whatever ended this one has most likely ended the others too: they are all replaced now.
                self.pool.check()
            else:
                return connection
        raise OperationalError(f"{TRIES} connections in a row were dead.")

    def _taken(self, conn_params: dict[str, Any]) -> Connection[Any]:
        """What the pool gives, asked every few seconds: it connects when somebody asks, not while somebody waits."""
        deadline = time.monotonic() + settings.DATABASE_POOL_WAIT_SECONDS
        while True:
            try:
                taken: Connection[Any] = super().get_new_connection(conn_params)
            except PoolTimeout:
                if time.monotonic() >= deadline:
                    raise
            else:
                return taken
