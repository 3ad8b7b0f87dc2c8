"""Procrastinate's jobs in PostgreSQL, for replies that wait while Redis is away.

A job only brings a waiting reply to a worker. What becomes of the reply is in its own row, with its lease: a job that
is lost or comes twice changes nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.db import connection
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from psycopg.conninfo import make_conninfo

from chats.replies.background import background, is_cancelled
from chats.replies.database import AWAY, in_database
from chats.replies.wire import RETRY_SECONDS
from chats.replies.worker import Worker

logger = structlog.get_logger(__name__)

QUEUE = "replies"
# Jobs are over as soon as their reply is claimed, so a few at a time are many.
CONCURRENCY = 20
POLL_SECONDS = 5.0
KNOWN_TO_LIBPQ = (
    *("dbname", "user", "password", "host", "port", "options", "sslmode", "sslrootcert", "sslcert", "sslkey"),
    *("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
)


class _Present:
    worker: Worker | None = None


@app.task(name="run_reply", queue=QUEUE)
async def run_reply(reply_id: str) -> None:
    assert _Present.worker is not None, "only processes that run replies fetch their jobs"
    try:
        await _Present.worker.take_up(UUID(reply_id))
    except AWAY as error:
        # The sweep finds it in its row.
        logger.warning("take_up_failed", reply=reply_id, error=str(error))


async def queue(reply_ids: Sequence[str]) -> None:
    """Have these run by whoever fetches their jobs."""
    try:
        await in_database(_defer, reply_ids)
    except (ConnectorException, *AWAY) as error:
        # The sweep finds them in their rows.
        logger.warning("jobs_unreachable", error=str(error))


def _defer(reply_ids: Sequence[str]) -> None:
    for reply_id in reply_ids:
        run_reply.defer(reply_id=reply_id)


async def fetch(worker: Worker) -> None:
    """Fetch jobs for `worker` until cancelled, over two connections beside the pool's, whatever becomes of those."""
    _Present.worker = worker
    while True:
        try:
            await _work(worker)
        except (ConnectorException, psycopg.OperationalError) as error:  # the second when its pool could not be opened
            # Until the database is back, the worker's own sweep finds nothing either.
            logger.warning("jobs_unreachable", error=str(error))
            # Procrastinate reports a database that is away even when it was told to end.
            if is_cancelled():
                return
        await asyncio.sleep(RETRY_SECONDS)


async def _work(worker: Worker) -> None:
    connector = PsycopgConnector(
        conninfo=_conninfo(),
        min_size=1,
        max_size=2,
        max_idle=settings.DATABASE_POOL_IDLE_SECONDS,
        timeout=settings.DATABASE_POOL_ASK_SECONDS,
    )
    jobs: App = app.with_connector(connector)
    async with jobs.open_async(), background(partial(_forget_jobs_of_the_dead, jobs)):
        await jobs.run_worker_async(
            name=worker.name,
            queues=[QUEUE],
            concurrency=CONCURRENCY,
            fetch_job_polling_interval=POLL_SECONDS,
            delete_jobs="always",
            install_signal_handlers=False,
            shutdown_graceful_timeout=1,
            update_heartbeat_interval=settings.REPLY_HEARTBEAT_SECONDS,
            stalled_worker_timeout=settings.REPLY_STALE_SECONDS,
        )


async def _forget_jobs_of_the_dead(jobs: App) -> None:
    """Whoever died with a job in hand left it behind for ever. Its reply waits in its row, where workers look too."""
    while True:
        await asyncio.sleep(settings.REPLY_STALE_SECONDS)
        with suppress(ConnectorException):
            for job in await jobs.job_manager.get_stalled_jobs(seconds_since_heartbeat=settings.REPLY_STALE_SECONDS):
                await jobs.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)


def _conninfo() -> str:
    """Where Django's connection leads, as libpq reads it."""
    params = connection.get_connection_params()
    return make_conninfo(**{name: params[name] for name in KNOWN_TO_LIBPQ if params.get(name)})
