"""Running one reply: prompt, provider, log, end. It belongs to the server, whoever watches."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from chats.errors import ModelUnavailable
from chats.knowledge.embedders import QueryVector
from chats.llm.errors import ProviderError, ProviderTimeout, StreamCut
from chats.llm.registry import open_stream
from chats.llm.values import Usage
from chats.models import Reply, ToolCall
from chats.replies import claims, endings, lease
from chats.replies.agent import Agent
from chats.replies.causes import (
    AT_REST,
    COMPLETED,
    NO_FINISH,
    OUR_FAULT,
    OUT_OF_STEPS,
    OUT_OF_TIME,
    OUT_OF_TOKENS,
    STOPPED,
    SUPERSEDED,
    TOO_DEAR,
    TOO_LONG,
    WITHHELD,
    Cause,
)
from chats.replies.database import in_database_of_documents
from chats.replies.draft import Draft
from chats.replies.embedding import ask_for_query, asked_now, book_query, vector_in
from chats.replies.log import ReplyLog
from chats.replies.pauses import pause_before_retry
from chats.replies.present import call_json
from chats.replies.retrieval import find_sources, in_events, passages_of, query_of, store_sources
from chats.replies.saving import Saving
from chats.replies.steps import TooDear, next_step, rest, store_step
from chats.replies.taint import names_of, taint_by
from chats.replies.toolbox import Toolbox, calls_of, toolbox_for
from chats.tools.apart import uncancelled
from chats.usage.costs import estimated_usage

logger = structlog.get_logger(__name__)


class Run:
    """One attempt at a reply, from its claim to its end."""

    def __init__(self, job: lease.Job, log: ReplyLog) -> None:
        self.job = job
        self.log = log
        self.draft = Draft(log, kept_text=job.kept_text)
        self.saved_seq = job.reply.snapshot_seq
        self._is_handed_over = False
        self.is_left = False  # for whoever takes it next, once its row says so
        self._first_job = job
        self._asked: set[UUID] = set()  # models
        self._failed_calls: list[lease.FailedCall] = []
        self._first_token_at: datetime | None = job.reply.first_token_at  # of an earlier step
        self._is_stopped = False
        self._reading: asyncio.Task[Cause] | None = None
        self._toolbox = Toolbox()
        saving = Saving(job.reply_id)
        self._save, self._insist = saving.save, saving.insist
        self._agent = Agent(log, self._save, user_id=job.reply.user_id)
        log.message = str(job.message.pk)

    async def go(self) -> None:
        """Run to the end, and store it; returns only when the row is terminal or someone else's, or `is_left`."""
        if self.job.is_in_calls:
            # What it said stands, and is whole.
            self.log.calls = len(self.job.message.tool_calls)
            self.log.append_snapshot("reply.snapshot", self.job.message.content)
        elif self.job.reply.attempt > 1:
            self.log.append_snapshot("reply.restarted", self.job.kept_text)
        else:
            message = self.job.message
            self.log.append(
                "reply.started", chat=str(message.chat_id), prompt=str(message.parent_id), message=str(message.pk)
            )
            if self.job.kept_text:
                self.log.append_snapshot("reply.snapshot", self.job.kept_text)
        # A task of its own, so that a stop can cancel the reading at any point and the saving goes on undisturbed.
        self._reading = reading = asyncio.create_task(self._read())
        if self._is_stopped or self._is_handed_over:
            reading.cancel()
        try:
            await asyncio.wait({reading})
        finally:
            reading.cancel()
        if (self._is_handed_over and reading.cancelled()) or _is_at_rest(reading):
            self.is_left = True
        else:
            await self._finish(self._cause_of(reading))

    def stop(self) -> None:
        """End the reading, which closes the provider's connection; the text so far is kept. It may be said again."""
        if not self._is_stopped:
            self._is_stopped = True
            self._cancel()

    def hand_over(self) -> None:
        """Leave this reply to whoever claims it next; this process is going away."""
        self._is_handed_over = True
        self._cancel()

    async def close(self) -> None:
        """Say goodbye to the servers of its tools, which may take a while. Afterwards it is not to be used."""
        await self._agent.close()

    def wake(self) -> None:
        """Look again at the calls that waited: one may have been approved."""
        self._agent.wake()

    def snapshot(self) -> lease.Snapshot:
        return lease.Snapshot(job=self.job, seq=self.log.seq, text=self.log.text, reasoning=self.log.reasoning)

    @property
    def _is_answered(self) -> bool:
        """Whether a model came to its first token, or said that it was done without any."""
        return self.draft.has_begun or self.draft.finish_reason is not None

    def _cancel(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> Cause:
        try:
            async with asyncio.timeout(settings.REPLY_TOTAL_SECONDS):
                await self._open_toolbox()
                if self.job.reply.retrieval is not None:
                    await self._retrieve()
                self._expect_markers()
                if self.job.is_in_calls:
                    calls = await self._agent.take(self.job, is_anew=True)
                    return await self._work_on(calls) or await self._take_steps()
                return await self._take_steps()
        except TimeoutError:
            return OUT_OF_TIME

    async def _open_toolbox(self) -> None:
        if self.job.model is None or not self.job.model.supports_tools:
            return
        self._toolbox = toolbox = await self._save(toolbox_for, self.job) or Toolbox()
        self._set_job(replace(self.job, request=replace(self.job.request, tools=toolbox.specs)))

    def _set_job(self, job: lease.Job) -> None:
        self.job = self._first_job = job

    async def _take_steps(self) -> Cause:
        """Ask the model, and as long as it asks for calls, have them run and ask it again."""
        while True:
            cause = await self._ask_in_turn()
            if cause is not COMPLETED or not self.draft.tool_calls:
                return cause
            if self.job.is_last_step:
                return OUT_OF_STEPS
            calls, refusals = self._judged()
            if not await uncancelled(self._store_step(calls, refusals)):
                return STOPPED
            if (end := await self._work_on(calls)) is not None:
                return end

    def _judged(self) -> tuple[list[ToolCall], dict[int, str]]:
        """The calls that the model has asked for, and of those that are refused, why."""
        calls = calls_of(self.draft.tool_calls, step=self.job.reply.steps + 1)
        refusals: dict[int, str] = {}
        for call in calls:
            if why := self._toolbox.judge(call, taint=self.job.taint):
                refusals[call.index] = why
        return calls, refusals

    async def _store_step(self, calls: Sequence[ToolCall], refusals: Mapping[int, str]) -> bool:
        ending = self._ending(COMPLETED)
        if not await self._save(store_step, self.job, ending, calls, refusals):
            return False
        self.job = replace(self.job, is_in_calls=True)
        self.log.calls = len(calls)
        self._failed_calls, self.draft.usage = [], None
        for call in calls:
            self.log.append("tool.called", **call_json(call, is_short=True))
            if call.is_settled:
                self._agent.tell_finished(call)
            elif call.status == ToolCall.Status.WAITING:
                self.log.append("tool.approval_requested", **call_json(call, is_short=True))
        return True

    async def _work_on(self, calls: Sequence[ToolCall]) -> Cause | None:
        """Run the calls of a step to their end, and go on to the next; or how the run ends."""
        while not await self._agent.run(self.job, calls):
            is_at_rest = await uncancelled(self._save(rest, self.job, seq=self.log.seq))
            if is_at_rest is not False:
                return AT_REST if is_at_rest else SUPERSEDED
            # One was decided on in this very moment. Nothing runs now, so nobody is at what its row says is running.
            calls = await self._agent.take(self.job, is_anew=True)
        end: Cause | None = await uncancelled(self._go_on())
        return end

    async def _go_on(self) -> Cause | None:
        known = len(self.job.message.sources)
        try:
            job = await self._save(next_step, self.job, seq=self.log.seq)
        except TooDear:
            return TOO_DEAR
        if job is None:
            return STOPPED
        self._first_token_at = self._first_token_at or self.draft.first_token_at
        self._set_job(job)
        self.log.message, self.log.calls = str(job.message.pk), 0
        self.log.append_snapshot("reply.snapshot", "")
        self.draft = Draft(self.log)
        if found := job.message.sources[known:]:
            self._tell_sources(found)
        self._expect_markers()
        # What its person has decided about tools meanwhile holds for the next round.
        await self._open_toolbox()
        return None

    def _expect_markers(self) -> None:
        """Let the text refer to the passages there are, and to no others."""
        if self.job.message.sources:
            self.draft.expect_markers(len(self.job.message.sources))

    def _tell_sources(self, sources: Sequence[Mapping[str, Any]]) -> None:
        for batch in in_events(sources):
            self.log.append("sources.found", sources=batch)

    async def _retrieve(self) -> None:
        """Give the model what the person's documents say. An attempt before this one may have found it already."""
        sources = self.job.message.sources
        if not sources:
            sources = await self._search()
            await self._save(store_sources, self.job, sources)
            self.job.message.sources = sources
        self._tell_sources(sources)
        request = replace(self.job.request, passages=passages_of(sources))
        taint = self.job.taint or taint_by(documents=names_of(sources))
        self._set_job(replace(self.job, request=request, taint=taint))

    async def _search(self) -> list[dict[str, Any]]:
        query = await asyncio.to_thread(query_of, self.job.request.messages)
        near = await self._vector_of(query)
        return await self._insist(partial(in_database_of_documents, find_sources, self.job, query, near)) or []

    async def _vector_of(self, query: str) -> QueryVector | None:
        asked = await self._insist(partial(in_database_of_documents, asked_now)) if query else None
        done = await ask_for_query(asked, query) if asked else None
        if asked is None or done is None:
            return None
        reply = self.job.reply
        await self._save(book_query, asked, done, query, user_id=reply.user_id, chat_id=reply.chat_id)
        return vector_in(asked, done)

    async def _ask_in_turn(self) -> Cause:
        """Ask the model, and those that answer in its place until one comes to its first token.

        When none does, what was wrong with the first is what people are told.
        """
        message = self.job.message
        if message.notice or message.model_id != self.job.reply.model_id:  # of an attempt that was lost
            await self._save(claims.name_writer, self.job)
        first_cause = cause = await self._ask()
        while not self._is_answered:
            self._set_usage_aside()
            if not await self._fall_back(cause):
                return first_cause
            cause = await self._ask()
        return cause

    async def _fall_back(self, cause: Cause) -> bool:
        """Pass on to the next model, if there is one, and tell the viewers why."""
        if self.job.model is not None:
            self._asked.add(self.job.model.pk)
        job = await self._save(claims.fall_back, self.job, asked=self._asked)
        if job is None:
            return False
        self.job = job
        _, code, message = cause
        shown = {name: row and str(row.pk) for name, row in job.writer.items() if name != "price"}
        self.log.append("reply.fallback", **shown, because={"code": code, "message": message}, notice=job.notice)
        logger.info("provider_fallback", reply=str(job.reply_id), code=code, **shown)
        return True

    async def _ask(self) -> Cause:
        """How the model's answer ended, if it came to one."""
        if self.job.target is None:
            return (Reply.Status.FAILED, ModelUnavailable.code, ModelUnavailable.message)
        try:
            return await self._read_with_retries()
        except ProviderError as error:
            return self._cause_of_error(error)

    async def _read_with_retries(self) -> Cause:
        """Ask; ask again after a passing failure, but only while no token has come and at most so often."""
        for attempt in itertools.count():
            try:
                return await self._read_stream()
            except ProviderError as error:
                pause = None if self.draft.has_begun else pause_before_retry(error, attempt)
                if pause is None:
                    raise
                self._set_usage_aside()
                logger.info("provider_retry", reply=str(self.job.reply_id), code=error.code, pause_seconds=pause)
                await asyncio.sleep(pause)
        raise AssertionError("an attempt returns or raises")

    def _set_usage_aside(self) -> None:
        """What a call used that brought no answer is billed too, and must not be taken for that of the next."""
        if self.draft.usage is not None:
            self._failed_calls.append(lease.FailedCall(self.job, self.draft.usage))
            self.draft.usage = None

    async def _read_stream(self) -> Cause:
        job, draft = self.job, self.draft
        assert job.target is not None
        async with aclosing(open_stream(job.target, job.request, job.limits)) as stream:
            async for event in stream:
                draft.take(event)
                if draft.is_too_long:
                    return TOO_LONG
        match draft.finish_reason:
            case None:
                return NO_FINISH
            case "length":
                return OUT_OF_TOKENS
            case "content_filter":
                return WITHHELD
        return COMPLETED

    def _cause_of_error(self, error: ProviderError) -> Cause:
        logger.warning("provider_error", reply=str(self.job.reply_id), code=error.code, message=error.message)
        if isinstance(error, StreamCut) and self.draft.has_begun:
            return (Reply.Status.INCOMPLETE, error.code, error.message)
        if isinstance(error, ProviderTimeout) and self.draft.has_begun:
            # The provider may still be at it: it is us who went.
            return (Reply.Status.INTERRUPTED, error.code, error.message)
        return (Reply.Status.FAILED, error.code, error.message)

    def _cause_of(self, reading: asyncio.Task[Cause]) -> Cause:
        if reading.cancelled():
            return STOPPED
        if failure := reading.exception():
            logger.error("reply_failed", reply=str(self.job.reply_id), exc_info=failure)
            return OUR_FAULT
        # The provider was done before the stop came: the answer is whole, and says so.
        return reading.result()

    async def _finish(self, cause: Cause) -> None:
        # Where nobody came to answer, it stays with the model that was asked for.
        job = self.job if self._is_answered else self._first_job
        body = await self._save(endings.finish, job, self._ending(cause))
        if body is not None:
            self.log.finish(**body)

    def _ending(self, cause: Cause) -> lease.Ending:
        status, code, message = cause
        self.draft.end()
        usage, is_estimated = (None, False) if self.job.is_in_calls else self._usage()
        return lease.Ending(
            status=status,
            seq=self.log.seq,
            text=self.log.text,
            reasoning=self.log.reasoning,
            tool_calls=self.draft.tool_calls,
            error_code=code,
            error_message=message,
            usage=usage,
            is_estimated=is_estimated,
            first_token_at=self._first_token_at or self.draft.first_token_at,
            failed_calls=self._failed_calls,
            names_writer=bool(self._asked or self.job.message.notice or self.job.is_cut or self.job.is_last_step),
            is_in_calls=self.job.is_in_calls,
        )

    def _usage(self) -> tuple[Usage | None, bool]:
        """What the provider reported; else an estimate when it has worked; else nothing to book."""
        if self.draft.usage is not None:
            return self.draft.usage, False
        if not self.draft.has_begun:
            return None, False
        arguments = "".join(call["function"]["arguments"] for call in self.draft.tool_calls)
        new_text = self.log.text.removeprefix(self.job.kept_text)
        usage = estimated_usage(self.job.request, text=new_text, reasoning=self.log.reasoning, arguments=arguments)
        return usage, True


def _is_at_rest(reading: asyncio.Task[Cause]) -> bool:
    return not reading.cancelled() and reading.exception() is None and reading.result() is AT_REST
