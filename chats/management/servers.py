"""Whether the servers beside a process are there as it starts, said in a sentence before anything waits for them."""

import logging
import re

import psycopg
from django.conf import settings
from django.core.management import CommandError
from django.db import connection

CONNECT_SECONDS = 3

logger = logging.getLogger(__name__)


def check_servers() -> None:
    """Raises CommandError when PostgreSQL can't be used; without Redis a process starts all the same."""
    if not settings.IS_SQLITE:
        _check_postgresql()
    if settings.REDIS_URL:
        _check_redis()


def _check_postgresql() -> None:
    parameters = {**connection.get_connection_params(), "connect_timeout": CONNECT_SECONDS}
    try:
        psycopg.connect(**parameters).close()
    except psycopg.OperationalError as error:
        place = f"{parameters.get('host') or 'localhost'}:{parameters.get('port') or 5432}"
        # It tells of each address that was tried, and gives advice for servers of one's own.
        causes = re.findall(r".*failed: (.+)", str(error)) or str(error).strip().splitlines()
        reason = causes[-1].rstrip(".")
        raise CommandError(f"PostgreSQL at {place} can't be reached: {reason}. See DATABASE_URL.") from None


def _check_redis() -> None:
    import redis  # noqa: PLC0415 - most installations have none

    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=CONNECT_SECONDS,
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    )
    try:
        with client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        where = client.connection_pool.connection_kwargs
        place = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
        logger.warning(
            "Redis at %s can't be reached: %s. Replies go on without it, but live text comes in steps. See REDIS_URL.",
            place,
            error,
        )
