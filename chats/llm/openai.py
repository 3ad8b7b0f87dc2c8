"""Any server that speaks OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat

Streams by hand over aiohttp and orjson, because this is what the product spends its CPU on.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson

from chats.llm import http
from chats.llm.cleaning import clean
from chats.llm.decoding import decode
from chats.llm.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from chats.llm.failures import failure_of_status, words_of
from chats.llm.openai_answer import Answer
from chats.llm.sse import SseDecoder
from chats.llm.values import ChatMessage, ChatRequest, Limits, StreamEvent, Target

ERROR_MAX_BYTES = 65_536
LIST_MAX_BYTES = 2_000_000
LIST_MAX_ENTRIES = 5_000
LIST_SECONDS = 20.0
MODEL_ID_MAX_LENGTH = 200
# The answer is complete once it has a finish reason; usage and [DONE] get this long to follow.
AFTER_FINISH_SECONDS = 5.0
# How long the end of the HTTP body may lag behind [DONE] before the connection is given up instead of kept.
DRAIN_SECONDS = 0.2


async def open_stream(target: Target, request: ChatRequest, limits: Limits) -> AsyncGenerator[StreamEvent, None]:
    """The events of one answer. Raises ProviderError. Closing or cancelling it closes the connection at once."""
    deadline = asyncio.get_running_loop().time() + limits.first_token_seconds
    call = http.Call("POST", target, "chat/completions", body_of(target, request))
    response = await call.send(http.shared_session(), limits=limits, deadline=deadline)
    reading = _Reading(response, target, limits, deadline=deadline)
    try:
        await reading.check_status()
        while not reading.is_over:
            for event in await reading.next_events():
                yield event
        for event in reading.answer.end():
            yield event
        if reading.answer.failure:
            raise reading.answer.failure
    finally:
        # After a body read to its end this changes nothing: its connection is back in the pool already.
        response.close()


def body_of(target: Target, request: ChatRequest) -> bytes:
    """The request as JSON. What staff set for the model is sent as it is, but can't change what is asked for."""
    settings = dict(request.settings)
    if request.max_output_tokens and not settings.keys() & {"max_tokens", "max_completion_tokens"}:
        settings[_max_tokens_field(target)] = request.max_output_tokens
    body = {
        "stream_options": {"include_usage": True},
        **settings,
        **({"tools": [dict(tool) for tool in request.tools]} if request.tools else {}),
        "model": target.model_id,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
    }
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ProviderRejected("The model's settings cannot be sent as JSON. Staff must correct them.") from error


def _max_tokens_field(target: Target) -> str:
    # OpenAI's reasoning models refuse the old name, most other servers do not know the new one.
    return (
        "max_completion_tokens" if http.host_of(target).endswith(("openai.com", "openai.azure.com")) else "max_tokens"
    )


def _message(message: ChatMessage) -> dict[str, Any]:
    content = clean(message.content)
    if message.role == "tool":
        return {"role": "tool", "content": content, "tool_call_id": message.tool_call_id}
    if message.tool_calls:
        return {"role": message.role, "content": content or None, "tool_calls": [dict(c) for c in message.tool_calls]}
    return {"role": message.role, "content": content}


class _Reading:
    """Reads one response: bytes, to payloads, to events, under the clock."""

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

    async def check_status(self) -> None:
        """Pass if this is an answer. Raises ProviderError."""
        if self._response.status != 200:
            body = await self._beginning()
            raise failure_of_status(
                self._response.status, body=body, target=self._target, headers=self._response.headers
            )
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
        chunk = await self._next_chunk()
        events = self.answer.take(self._decoder.feed(chunk) if chunk else self._decoder.end())
        await self._look_around(events, is_eof=not chunk)
        return events

    async def _look_around(self, events: list[StreamEvent], *, is_eof: bool) -> None:
        answer = self.answer
        if events:
            self._is_clock_due = True
        if answer.finish_reason and not self._is_finishing:
            self._is_finishing = self._is_clock_due = True
        if self._decoder.is_overlong and not answer.failure:
            answer.failure = self._overlong()
        if is_eof and not (answer.is_done or answer.finish_reason or answer.failure):
            answer.failure = self._cut()
        if answer.is_done and not is_eof:
            await self._drain()
        self.is_over = is_eof or answer.is_done or answer.failure is not None

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
        with contextlib.suppress(TimeoutError, http.ConnectionLost):
            while await http.read(self._response, deadline=self._now() + DRAIN_SECONDS):
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
        if self._response.content_type == "text/event-stream":
            return ProviderUnreachable(f"{self._host} closed the connection before its answer began. Try again.")
        return self._nonsense(b"")

    def _overlong(self) -> ProviderNonsense:
        size = f"{self._limits.line_max_bytes:,} bytes"
        return ProviderNonsense(f"{self._host} sent a line of more than {size}. Try again, or choose another model.")

    def _nonsense(self, body: bytes) -> ProviderNonsense:
        return ProviderNonsense(
            f"{self._host} answered, but not with a chat answer. Staff should check the base URL.",
            detail=words_of(body, target=self._target),
        )


async def list_models(target: Target, limits: Limits) -> list[str]:
    """The ids of the models the server offers, sorted, at most 5,000. Raises ProviderError.

    Opens and closes a session of its own, so that it may run on an event loop that lives for one call.
    """
    deadline = asyncio.get_running_loop().time() + LIST_SECONDS
    async with http.new_session() as session:
        call = http.Call("GET", target, "models")
        async with await call.send(session, limits=limits, deadline=deadline) as response:
            try:
                body, is_all = await http.read_all(response, max_bytes=LIST_MAX_BYTES, deadline=deadline)
            except (TimeoutError, http.ConnectionLost) as error:
                message = f"{http.host_of(target)} broke off its list of models. Try again."
                raise ProviderUnreachable(message) from error
    if response.status != 200:
        raise failure_of_status(response.status, body=body, target=target, headers=response.headers)
    ids = _model_ids(body) if is_all else None
    if ids is None:
        raise ProviderNonsense(
            f"{http.host_of(target)} did not answer with a list of models. Staff should check the base URL; it usually"
            " ends in /v1.",
            detail=words_of(body, target=target) if is_all else "",
        )
    return ids


def _model_ids(body: bytes) -> list[str] | None:
    """The ids in any of the shapes that servers use; None if it is no list of models."""
    try:
        value = decode(body)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = value.get("data", value.get("models"))
    if not isinstance(value, list):
        return None
    ids = {clean(text).strip() for entry in value if (text := _model_id(entry))}
    return sorted(i for i in ids if 0 < len(i) <= MODEL_ID_MAX_LENGTH)[:LIST_MAX_ENTRIES]


def _model_id(entry: object) -> str:
    if isinstance(entry, dict):
        entry = entry.get("id") or entry.get("name") or entry.get("model")
    return entry if isinstance(entry, str) else ""
