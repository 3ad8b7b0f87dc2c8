"""Runs replies in this process: takes them up, keeps them alive and durable, stops them, hands them over."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error

from chats import doorbell
from chats.once import forget_client_ids
from chats.replies import claims, handoff, lease, rows
from chats.replies.background import lasting
from chats.replies.database import AWAY, in_database, in_database_aside
from chats.replies.log import LOGS
from chats.replies.run import Run
from chats.replies.streams import Writer
from chats.replies.tails import TAILS
from chats.replies.titles import improve_title

logger = structlog.get_logger(__name__)

FORGET_SECONDS = 60.0
# What is not handed over by then is taken over, once its heartbeat is missed.
HANDOVER_SECONDS = 1.5


@dataclass
class _Claim:
    """What came for a reply while its row was being claimed."""

    was_rung: bool = False
    was_called: bool = False


class Worker:
    def __init__(self, *, writer: Writer | None = None) -> None:
        self.name = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.runs: dict[UUID, Run] = {}
        self._claims: dict[UUID, _Claim] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_leaving = False
        # Heartbeats and snapshots lock the same rows, each in an order of its own.
        self._writing = asyncio.Lock()
        self._writer = writer
        self._ends: list[Callable[[], None]] = []

    async def start(self) -> None:
        if settings.IS_SQLITE:
            # One process has the file, so whatever ran there before belongs to one that is dead.
            await in_database(claims.abandon_running)
        self._ends = [
            doorbell.listen("reply", self._heed_ring),
            doorbell.listen("waiting", self._heed_call),
        ]
        self._loop = asyncio.get_running_loop()
        handoff.set_engine(handoff.Engine(worker=self.name, take=self.take))
        self._spawn(lasting(self._keep_durable))
        self._spawn(lasting(self._keep_alive))
        self._spawn(lasting(self._keep_sweeping))
        self._spawn(lasting(self._keep_forgetting))

    async def leave(self, *, grace_seconds: float) -> None:
        """Take no new work; give running replies `grace_seconds` to finish, then hand them over."""
        self._is_leaving = True
        handoff.set_engine(None)
        for end in self._ends:
            end()
        if claiming := self._tasks_named("claim:"):
            await asyncio.wait(claiming, timeout=HANDOVER_SECONDS)
        if running := self._tasks_named("reply:"):
            await asyncio.wait(running, timeout=grace_seconds)
        # Asked anew: requests that were under way may have brought more.
        if late := self._tasks_named("reply:"):
            await self._hand_over(late)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hand_over(self, late: Collection[asyncio.Task[None]]) -> None:
        runs = list(self.runs.values())
        for run in runs:
            run.hand_over()
        try:
            async with asyncio.timeout(HANDOVER_SECONDS):
                # One that was just being saved is saved.
                await asyncio.wait(late)
                async with self._writing:
                    await in_database(rows.release, [run.snapshot() for run in runs if run.is_left])
        except (TimeoutError, *AWAY) as error:
            logger.warning("handover_cut", count=len(runs), error=str(error))

    def take(self, job: lease.Job) -> None:
        """Run a reply that was just started in this process. Any thread may call it."""
        # A closed loop means that the process is ending: the reply is in its row, and the next start finds it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin, job)

    def _heed_call(self, reply_id: str) -> None:
        self._spawn(self.take_up(UUID(reply_id)))

    async def take_up(self, reply_id: UUID) -> None:
        """Run a reply that waits, unless it runs already or somebody else is faster."""
        if claim := self._claims.get(reply_id):
            claim.was_called = True
        else:
            await self._claim(reply_id)

    def _heed_ring(self, reply: str) -> None:
        """Someone asked something of this reply, most likely to stop."""
        reply_id = UUID(reply)
        if run := self.runs.get(reply_id):
            run.wake()
            self._spawn(self._heed_stops([run]))
        elif claim := self._claims.get(reply_id):
            claim.was_rung = True

    async def _claim(self, reply_id: UUID) -> None:
        """Run this reply if it can be had."""
        if reply_id not in self.runs and reply_id not in self._claims and not self._is_leaving:
            # Before the task begins: a call and the sweep may come for it in the same turn of the loop.
            claim = self._claims[reply_id] = _Claim()
            # A task of its own: a process that is told to end waits for those that are on their way.
            task = self._spawn(self._claim_once(reply_id, claim), name=f"claim:{reply_id}")
            await asyncio.wait({task})

    async def _claim_once(self, reply_id: UUID, claim: _Claim) -> None:
        try:
            job = await in_database(claims.claim, reply_id, self.name)
            while job is None and claim.was_called:
                # The reply before it in its chat ended in between.
                claim.was_called = False
                job = await in_database(claims.claim, reply_id, self.name)
        except Error:
            raise
        except Exception:
            # What can't be read would be tried for ever, by every worker.
            logger.exception("claim_failed", reply=str(reply_id))
            await in_database(claims.give_up, reply_id)
            return
        finally:
            del self._claims[reply_id]
        if job is not None:
            run = self._begin(job)
            if claim.was_rung:
                await self._heed_stops([run])

    def _begin(self, job: lease.Job) -> Run:
        reply_id, tell = job.reply_id, None
        if self._writer is not None:
            tell = partial(self._writer.put, reply_id)
        run = self.runs[reply_id] = Run(job, LOGS.open(reply_id, last_seq=job.reply.snapshot_seq, tell=tell))
        TAILS.poke(reply_id)
        self._spawn(self._run(run), name=f"reply:{job.reply_id}")
        return run

    async def _heed_stops(self, runs: list[Run]) -> None:
        ended = await in_database(rows.to_be_stopped, [run.job for run in runs])
        for run in runs:
            if run.job.reply_id in ended:
                run.stop()

    async def _run(self, run: Run) -> None:
        try:
            await run.go()
        finally:
            self._spawn(run.close())
            del self.runs[run.job.reply_id]
            LOGS.close(run.log, keep_seconds=settings.REPLY_REPLAY_SECONDS)
        if not run.is_left:
            self._spawn(improve_title(run.job.reply_id))

    async def _keep_durable(self) -> None:
        """At most a second after anyone has seen a text, it is in its row; and a stop whose ring was lost is heeded."""
        while True:
            await asyncio.sleep(settings.REPLY_SNAPSHOT_SECONDS)
            try:
                await self._save_fresh([run for run in self.runs.values() if run.log.seq != run.saved_seq])
                if self.runs:
                    await self._heed_stops(list(self.runs.values()))
            except Error as error:
                logger.warning("snapshot_retry", error=str(error))

    async def _save_fresh(self, runs: list[Run]) -> None:
        if runs:
            async with self._writing:
                shots = [run.snapshot() for run in runs]
                await in_database_aside(rows.save_snapshots, shots)
            for run, shot in zip(runs, shots, strict=True):
                run.saved_seq = shot.seq

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(settings.REPLY_HEARTBEAT_SECONDS)
            try:
                if self.runs:
                    async with self._writing:
                        await in_database_aside(rows.beat, self.name, list(self.runs))
            except Error as error:
                logger.warning("heartbeat_retry", error=str(error))

    async def _keep_forgetting(self) -> None:
        while True:
            try:
                while await in_database(forget_client_ids):
                    pass
            except Error as error:
                logger.warning("forget_retry", error=str(error))
            await asyncio.sleep(FORGET_SECONDS)

    async def _keep_sweeping(self) -> None:
        """Take up what no ring told of: replies left queued, and those whose worker is gone."""
        while True:
            try:
                for reply_id in await in_database(claims.unfinished_ids):
                    await self._claim(reply_id)
            except Error as error:
                logger.warning("sweep_retry", error=str(error))
            await asyncio.sleep(settings.REPLY_HEARTBEAT_SECONDS)

    def _tasks_named(self, start: str) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task.get_name().startswith(start)]

    def _spawn(self, work: Any, *, name: str | None = None) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, AWAY):
            # Stops, waiting replies and those left behind are looked for again and again; only a title may be missed.
            logger.warning("background_task_cut", error=str(failure))
        elif failure:
            logger.error("background_task_failed", exc_info=failure)
