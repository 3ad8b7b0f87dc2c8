"""Serve Parley: one process with everything in it."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core.management import BaseCommand, CommandError, CommandParser, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from chats.management.pauses import avoid_pauses
from chats.management.servers import check_servers

# Requests that are still being answered when the server is told to stop are cut after this. Event streams end at once,
# and calls that wait for an answer are told how it stands.
CONNECTION_GRACE_SECONDS = 3
STUCK_PEER_SECONDS = 45


def server_config(application: Any, **where: Any) -> uvicorn.Config:
    """How Parley is served: `where` is host and port."""
    return uvicorn.Config(
        application,
        **where,
        http="config.http:CarefulHttp",
        ws="config.http:CarefulSocket",
        ws_max_size=settings.SOCKET_MESSAGE_MAX_BYTES,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CONNECTION_GRACE_SECONDS,
    )


def port_number(text: str) -> int:
    """A port as an argument; 0 stands for any that is free."""
    if not text.isdecimal() or int(text) >= 2**16:
        raise ArgumentTypeError(f"{text} is no port. Choose one from 1 to 65535.")
    return int(text)


def listen(host: str, port: int) -> socket.socket:
    """A socket on this address. Raises CommandError with the reason when it can't be had."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CommandError(_why_not(error, host, port)) from error
    # A peer that takes no data for so long is gone; without this the kernel would keep its connection for a quarter
    # of an hour, whatever a ping finds out.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_PEER_SECONDS * 1000)
    return listening


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} of {host} is in use. Choose another: manage.py serve --port {port + 1}"
        case errno.EACCES:
            return f"Port {port} is for root. Choose one above 1023, with --port 8000."
        case _:
            return f"{host} is no address of this machine. Choose another with --host: {error}"


class AnnouncingServer(uvicorn.Server):
    """Says where to look once the sockets are open, and ends streams when it is told to end."""

    def __init__(
        self, config: uvicorn.Config, *, announce: Callable[[], None], end_streams: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.announce, self.end_streams = announce, end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Sockets are told by uvicorn itself.
        self.end_streams()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            avoid_pauses()
            self.announce()


class Command(BaseCommand):
    help = "Migrate if needed, then serve pages, API, sockets and the reply engine in one process."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=port_number, default=8000)
        parser.add_argument("--no-migrate", action="store_true", help="Leave the database's schema as it is.")

    def handle(self, *_: Any, host: str, port: int, no_migrate: bool, **__: Any) -> None:
        # What is written from here on, the database above all, is nobody else's to read.
        os.umask(0o077)
        lock = self._only_server() if settings.IS_SQLITE else None
        listening = listen(host, port)
        check_servers()
        if not no_migrate:
            self._migrate()
        self._collect_static()
        connection.close()
        server_settings = server_config("config.asgi:application", host=host, port=port)
        everywhere = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        shown = "localhost" if host in everywhere else f"[{host}]" if ":" in host else host
        server = AnnouncingServer(
            server_settings,
            announce=lambda: self.stdout.write(f"Parley is ready: http://{shown}:{port}/"),
            end_streams=import_string("chats.replies.connections.STREAMS").end,
        )
        # uvicorn raises the signal that ended it once more when all is done: then this is a success.
        signal.signal(signal.SIGTERM, lambda *_: None)
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=[listening]))
        if lock is not None:
            lock.close()
        if not server.started:
            raise CommandError(f"Could not serve on {host}:{port}; the reason is above.")

    def _only_server(self) -> Any:
        """An SQLite file belongs to one serving process: it takes up every reply it finds unfinished."""
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        lock = (settings.DATA_DIR / "serve.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"Another Parley already serves from {settings.DATA_DIR}. Stop it, or set DATA_DIR to another folder."
            ) from error
        return lock

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=1)

    def _collect_static(self) -> None:
        """Collect the static files when the manifest is missing or older than one of them."""
        if not isinstance(staticfiles_storage, ManifestFilesMixin):
            return
        manifest = Path(staticfiles_storage.path(staticfiles_storage.manifest_name))
        if not manifest.exists() or manifest.stat().st_mtime < newest_static_change():
            self.stdout.write("Collecting static files …")
            call_command("collectstatic", interactive=False, verbosity=0)
            staticfiles_storage.hashed_files.update(staticfiles_storage.load_manifest()[0])


def newest_static_change() -> float:
    """When the newest static file of any app was changed, in seconds since the epoch."""
    return max(
        Path(storage.path(name)).stat().st_mtime for finder in get_finders() for name, storage in finder.list([])
    )
