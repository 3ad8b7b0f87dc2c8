"""Run replies, and nothing else: no pages, no API. For deployments with several nodes."""

import asyncio
import contextlib
import os
import signal
from typing import Any

import uvloop
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import connection

from chats.management.pauses import avoid_pauses
from chats.management.servers import check_servers
from chats.replies.node import node


class Command(BaseCommand):
    help = "Run replies that other processes accept. Needs PostgreSQL and Redis."

    def handle(self, *_: Any, **__: Any) -> None:
        if not settings.IS_CLUSTER:
            raise CommandError(
                "A worker shares PostgreSQL and Redis with the processes that serve. Set DATABASE_URL and REDIS_URL, "
                "or run `manage.py serve` alone: it runs its replies itself."
            )
        check_servers()
        connection.close()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        is_over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, is_over.set)
        async with node(runs_replies=True, has_sockets=False):
            avoid_pauses()
            self.stdout.write("Parley's worker is ready.")
            with contextlib.suppress(OSError):
                self.stdout.flush()
            await is_over.wait()
        # All is stored or handed over; a thread that waits for a database that is away would keep the process.
        os._exit(0)
