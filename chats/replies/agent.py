"""Running the calls of one step, side by side: what is ready runs, what waits for its person is left.

Every row is written before the event that tells of it, so that whoever looks at the rows knows no less.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from chats.errors import TooMany
from chats.models import ToolCall
from chats.replies import calls as rows
from chats.replies.documents_tool import search_documents, told
from chats.replies.lease import Job
from chats.replies.log import ReplyLog
from chats.replies.present import call_json
from chats.replies.toolbox import WITHDRAWN, arguments_of, may_run
from chats.tools import builtin
from chats.tools.apart import uncancelled
from chats.tools.calling import Caller
from chats.tools.errors import CallRefused, ToolServerError
from chats.tools.models import McpServer, Tool
from chats.tools.values import Outcome

logger = structlog.get_logger(__name__)

Status = ToolCall.Status
# Events of progress, of one call.
PROGRESS_SECONDS = 0.5
# How long calls that were stopped may take to say so to their servers.
STOP_SECONDS = 1.0

MAYBE_DONE = " It may have been carried out all the same: do not repeat it without asking the user."
UNSTORABLE = "This call was carried out, but its answer can't be stored. Do not repeat it without asking the user."
BROKEN = "Something went wrong on the user's server with this call."

Save = Callable[..., Awaitable[Any]]


class NotStored(Exception):
    """The database is there, and refuses a row."""


class Agent:
    """Runs calls for one run of a reply, and holds the connections to their servers."""

    def __init__(self, log: ReplyLog, save: Save, *, user_id: UUID) -> None:
        """`save` awaits a sync function of rows, as long as the database is away; servers are called as `user_id`."""
        self._log, self._save = log, save
        self._caller = Caller(save, user_id=user_id)
        self._has_news = asyncio.Event()
        self._places = asyncio.Semaphore(settings.TOOL_CALLS_AT_ONCE)
        self._numbers = 0  # passages that were found so far

    def wake(self) -> None:
        """Look again: a call may have been approved."""
        self._has_news.set()

    async def close(self) -> None:
        await self._caller.close()

    async def run(self, job: Job, calls: Sequence[ToolCall]) -> bool:
        """Run what is ready of a step, also what becomes so meanwhile. True: all are settled; False: some wait."""
        known = {call.pk: call for call in calls}
        self._numbers = len(rows.sources_of(job.message, calls))
        tasks: dict[UUID, asyncio.Task[None]] = {}
        try:
            while True:
                for call in known.values():
                    if call.status == Status.READY and call.pk not in tasks:
                        tasks[call.pk] = asyncio.create_task(self._run_one(job, call))
                under_way = [task for task in tasks.values() if not task.done()]
                if not under_way:
                    break
                await self._next_of(under_way)
                if self._has_news.is_set():
                    self._has_news.clear()
                    await self._look_again(job, known)
        finally:
            for task in tasks.values():
                task.cancel()
            if tasks:
                # Each tells its server that nobody waits any more, and what was done already is stored.
                await asyncio.wait(tasks.values(), timeout=STOP_SECONDS)
        for task in tasks.values():
            task.result()
        return all(call.is_settled for call in known.values())

    async def take(self, job: Job, *, is_anew: bool = False) -> Sequence[ToolCall]:
        """The calls of a step as they stand; viewers hear of those that were settled without a run."""
        calls = await self._save(rows.take_calls, job, is_anew=is_anew) or rows.Calls()
        for call in calls.untold:
            self.tell_finished(call)
        return calls.all

    async def _next_of(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        news = asyncio.create_task(self._has_news.wait())
        try:
            await asyncio.wait({*tasks, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def _look_again(self, job: Job, known: dict[UUID, ToolCall]) -> None:
        for call in await self.take(job):
            if known[call.pk].status == Status.WAITING:
                known[call.pk] = call

    async def _run_one(self, job: Job, call: ToolCall) -> None:
        async with self._places:
            is_ours = await self._save(rows.start_call, job, call)
            if is_ours is None:
                raise NotStored
            if not is_ours:
                return
            self._log.append("tool.started", **call_json(call, is_short=True))
            status, outcome, sources = await self._outcome_of(job, call)
            # What has come of it is stored, also when somebody stops in this very moment.
            await uncancelled(self._finish(job, call, status, outcome, sources))

    async def _finish(
        self,
        job: Job,
        call: ToolCall,
        status: ToolCall.Status,
        outcome: Outcome,
        sources: Sequence[Mapping[str, Any]],
    ) -> None:
        is_ours = await self._save(rows.finish_call, job, call, status, outcome, sources)
        if is_ours is None:
            outcome = Outcome(UNSTORABLE, is_error=True, is_own=True)
            is_ours = await self._save(rows.finish_call, job, call, Status.FAILED, outcome)
        if is_ours is None:
            raise NotStored
        if is_ours:
            self.tell_finished(call)

    def tell_finished(self, call: ToolCall) -> None:
        self._log.append("tool.finished", **call_json(call, is_short=True))

    async def _outcome_of(
        self, job: Job, call: ToolCall
    ) -> tuple[ToolCall.Status, Outcome, Sequence[Mapping[str, Any]]]:
        """What comes of a call, whatever goes wrong, and the passages of documents that it has found."""
        tool = call.tool
        if tool is None or not await self._save(may_run, job.reply.user_id, call):
            return Status.REFUSED, Outcome(WITHDRAWN, is_error=True, is_own=True), ()
        try:
            if tool.server.transport == McpServer.Transport.BUILTIN:
                outcome, sources = await self._run_builtin(job, call, tool)
            else:
                outcome, sources = await self._run_remote(call, tool), ()
        except CallRefused as error:
            return Status.REFUSED, Outcome(error.message, is_error=True), ()
        except ToolServerError as error:
            maybe = MAYBE_DONE if error.is_begun and not call.is_read_only else ""
            logger.info("tool_call_failed", reply=str(job.reply_id), tool=call.name, code=error.code)
            return Status.FAILED, Outcome(error.message + maybe, is_error=True), ()
        except Exception:
            logger.exception("tool_call_broken", reply=str(job.reply_id), tool=call.name)
            return Status.FAILED, Outcome(BROKEN, is_error=True, is_own=True), ()
        return (Status.FAILED if outcome.is_error else Status.DONE), outcome, sources

    async def _run_remote(self, call: ToolCall, tool: Tool) -> Outcome:
        told_at = 0.0

        async def tell(progress: float, total: float | None, words: str) -> None:
            nonlocal told_at
            now = asyncio.get_running_loop().time()
            if now - told_at >= PROGRESS_SECONDS:
                told_at = now
                self._log.append("tool.progress", call=str(call.pk), progress=progress, total=total, message=words)

        return await self._caller.call(tool, arguments_of(call) or {}, on_progress=tell)

    async def _run_builtin(self, job: Job, call: ToolCall, tool: Tool) -> tuple[Outcome, Sequence[Mapping[str, Any]]]:
        arguments = arguments_of(call) or {}
        if tool.name != builtin.SEARCH:
            return replace(await asyncio.to_thread(builtin.run, tool.name, arguments), is_own=True), ()
        try:
            found = await search_documents(job, arguments)
        except TooMany as error:
            return Outcome(error.message, is_error=True, is_own=True), ()
        # Numbered in the order in which they are found, whichever call of the step finds them.
        sources = [{**source, "number": self._numbers + n, "call": call.call_id} for n, source in enumerate(found, 1)]
        self._numbers += len(sources)
        return told(sources), sources
