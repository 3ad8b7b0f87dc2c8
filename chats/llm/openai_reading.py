"""Reading one response of an OpenAI-compatible server: bytes, to payloads, to events, under the clock."""

import asyncio
import contextlib

import aiohttp

from chats.llm import http
from chats.llm.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from chats.llm.failures import failure_of_status, words_of
from chats.llm.openai_answer import Answer
from chats.llm.sse import SseDecoder
from chats.llm.values import Limits, StreamEvent, Target

ERROR_MAX_BYTES = 65_536
# The answer is complete once it has a finish reason; usage and [DONE] get this long to follow.
AFTER_FINISH_SECONDS = 5.0
# How long the end of the HTTP body may lag behind [DONE] before the connection is given up instead of kept.
DRAIN_SECONDS = 0.2
# A server that sends this much at once without saying anything is read no faster than one that speaks.
BULK_BYTES = 16_384


class Reading:
    """`next_events()` until `is_over`; then `answer.end()`, and `answer.failure` says what was wrong, if anything."""

    def __init__(self, response: aiohttp.ClientResponse, target: Target, limits: Limits, *, deadline: float) -> None:
        self.answer = Answer(target)
        self.is_over = False
        self._response, self._target, self._limits = response, target, limits
        self._host = http.host_of(target)
        self._decoder = SseDecoder(limits.line_max_bytes)
        self._now = asyncio.get_running_loop().time
        self._deadline = deadline
        self._is_json = response.content_type == "application/json"
        self._is_clock_due = False  # content has come: from the next read on, silence is counted anew
        self._is_finishing = False
        self._resume_at = 0.0

    async def check_status(self) -> None:
        """Pass if this is an answer. Raises ProviderError."""
        if self._response.status != 200:
            body = await self._beginning()
            raise failure_of_status(
                self._response.status, body=body, target=self._target, headers=self._response.headers
            )
        if http.is_compressed(self._response):
            raise http.compressed(self._host)
        if self._response.content_type in ("text/html", "application/xhtml+xml"):
            detail = words_of(await self._beginning(), target=self._target)
            raise ProviderNonsense(
                f"{self._host} answered with a web page instead of a chat answer. Staff should check the base URL;"
                " it usually ends in /v1.",
                detail=detail,
            )

    async def next_events(self) -> list[StreamEvent]:
        """What the next piece of the body brings, perhaps nothing. Sets `is_over` with the last one."""
        if self._is_json:
            return await self._whole_answer()
        if self._is_clock_due:
            self._is_clock_due = False
            wait = AFTER_FINISH_SECONDS if self._is_finishing else self._limits.silence_seconds
            self._deadline = self._now() + wait
        await self._gather()
        if chunk := await self._next_chunk():
            events = self.answer.take(self._decoder.feed(chunk))
        else:
            events = self.answer.take_rest(self._decoder.end())
        if events or len(chunk) > BULK_BYTES:
            self._resume_at = self._now() + self._limits.window_seconds
        await self._look_around(events, is_eof=not chunk)
        return events

    async def _look_around(self, events: list[StreamEvent], *, is_eof: bool) -> None:
        answer = self.answer
        if events and not self._is_finishing:
            self._is_clock_due = True
        if answer.finish_reason and not self._is_finishing:
            self._is_finishing = self._is_clock_due = True
        if self._decoder.is_overlong and not answer.failure:
            answer.failure = self._overlong()
        # A read that finds bytes waiting never looks at the clock, and a flood without content always has some.
        # Content that comes after the provider has said that it is done is none any more.
        is_kept_waiting = self._is_finishing or not events
        is_late = is_kept_waiting and not self._is_clock_due and self._now() >= self._deadline
        if is_late and not (answer.is_done or answer.finish_reason or answer.failure):
            answer.failure = self._silent()
        if is_eof and not (answer.is_done or answer.finish_reason or answer.failure):
            answer.failure = self._ended_early()
        if answer.is_done and not is_eof:
            await self._drain()
        self.is_over = is_eof or is_late or answer.is_done or answer.failure is not None

    async def _gather(self) -> None:
        """Let bytes come together: reading and passing on each token by itself is most of what a token costs.

        It also bounds what a flood of comments or empty pieces takes from everyone else's share of this process.
        """
        pause = self._resume_at - self._now()
        if pause > 0 and not self._is_finishing:
            await http.rest(self._response, seconds=pause)

    async def _next_chunk(self) -> bytes:
        """The next bytes, b"" when there are no more: then `answer.failure` says why, unless all has been said."""
        try:
            return await http.read(self._response, deadline=self._deadline)
        except TimeoutError:
            failure: ProviderError = self._silent()
        except http.ConnectionLost:
            failure = self._cut()
        if not self.answer.finish_reason:
            self.answer.failure = failure
        return b""

    async def _drain(self) -> None:
        """Read the end of the body, so that the connection can be used again."""
        deadline = self._now() + DRAIN_SECONDS
        with contextlib.suppress(TimeoutError, http.ConnectionLost):
            while await http.read(self._response, deadline=deadline):
                pass

    async def _whole_answer(self) -> list[StreamEvent]:
        """The events of a server that answers in one piece although a stream was asked for."""
        self.is_over = True
        try:
            body, is_all = await http.read_all(
                self._response, max_bytes=self._limits.line_max_bytes, deadline=self._deadline
            )
        except TimeoutError:
            raise self._silent() from None
        except http.ConnectionLost:
            raise self._cut() from None
        if not is_all:
            raise self._overlong()
        events = self.answer.take([body])
        if not (events or self.answer.finish_reason or self.answer.failure):
            raise self._nonsense(body)
        return events

    async def _beginning(self) -> bytes:
        """The first bytes of a body that explains a failure; a slow or broken one must not hide the failure itself."""
        if http.is_compressed(self._response):
            return b""
        deadline = min(self._deadline, self._now() + AFTER_FINISH_SECONDS)
        with contextlib.suppress(TimeoutError, http.ConnectionLost):
            return (await http.read_all(self._response, max_bytes=ERROR_MAX_BYTES, deadline=deadline))[0]
        return b""

    # ------------------------------------------------------------ failures
    def _silent(self) -> ProviderTimeout:
        if not self.answer.has_content:
            return http.no_first_token(self._host, self._limits)
        seconds = f"{self._limits.silence_seconds:g} seconds"
        return ProviderTimeout(f"{self._host} fell silent for {seconds} in the middle of its answer. Try again.")

    def _cut(self) -> ProviderError:
        if self.answer.has_content:
            return StreamCut(f"{self._host} broke off in the middle of its answer. The text so far is kept; try again.")
        return ProviderUnreachable(f"{self._host} closed the connection before its answer began. Try again.")

    def _ended_early(self) -> ProviderError:
        is_stream = self._response.content_type == "text/event-stream"
        return self._cut() if is_stream or self.answer.has_content else self._nonsense(b"")

    def _overlong(self) -> ProviderNonsense:
        size = f"{self._limits.line_max_bytes:,} bytes"
        return ProviderNonsense(f"{self._host} sent a line of more than {size}. Try again, or choose another model.")

    def _nonsense(self, body: bytes) -> ProviderNonsense:
        return ProviderNonsense(
            f"{self._host} answered, but not with a chat answer. Staff should check the base URL.",
            detail=words_of(body, target=self._target),
        )
