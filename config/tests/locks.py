"""Who waits for whom in PostgreSQL, for tests of two writers at once."""

from django.db import connection

# For this very connection: other tests wait for their own locks on the same server.
IS_WAITED_FOR = """
    SELECT EXISTS (
        SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
    )
"""


def is_waited_for() -> bool:
    """Whether somebody waits for the transaction that this thread holds open."""
    with connection.cursor() as cursor:
        cursor.execute(IS_WAITED_FOR)
        return cursor.fetchone()[0]
