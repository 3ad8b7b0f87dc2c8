"""Any server that speaks OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat

Streams by hand over aiohttp and orjson, because this is what the product spends its CPU on.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from chats.llm import http, whole
from chats.llm.cleaning import clean
from chats.llm.errors import ProviderNonsense, ProviderRejected
from chats.llm.failures import words_of
from chats.llm.openai_embeddings import embed
from chats.llm.openai_reading import Reading
from chats.llm.passages import messages_of
from chats.llm.values import ChatMessage, ChatRequest, Limits, StreamEvent, Target

__all__ = ["embed", "list_models", "open_stream"]

LIST_MAX_BYTES = 2_000_000
LIST_MAX_ENTRIES = 5_000
MODEL_ID_MAX_LENGTH = 200


async def open_stream(target: Target, request: ChatRequest, limits: Limits) -> AsyncGenerator[StreamEvent, None]:
    """The events of one answer. Raises ProviderError. Closing or cancelling it closes the connection at once."""
    deadline = asyncio.get_running_loop().time() + limits.first_token_seconds
    call = http.Call("POST", target, "chat/completions", body_of(target, request))
    response = await call.send(http.shared_session(), limits=limits, deadline=deadline)
    reading = Reading(response, target, limits, deadline=deadline)
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
        **_tools(request),
        "model": target.model_id,
        "messages": [_message(message) for message in messages_of(request)],
        "stream": True,
    }
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ProviderRejected("The model's settings cannot be sent as JSON. Staff must correct them.") from error


def _tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice = {"tool_choice": "none"} if request.is_without_calls else {}
    return {"tools": [dict(tool) for tool in request.tools], **choice}


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


async def list_models(target: Target, limits: Limits) -> list[str]:
    """The ids of the models the server offers, sorted, at most 5,000. Raises ProviderError.

    It takes no longer than a first token may. Opens and closes a session of its own, so that it may run on an event
    loop that lives for one call.
    """
    deadline = asyncio.get_running_loop().time() + limits.first_token_seconds
    call = http.Call("GET", target, "models")
    async with http.new_session() as session:
        body = await whole.body_of(
            call, session, limits=limits, deadline=deadline, max_bytes=LIST_MAX_BYTES, what="list of models"
        )
    ids = None if body is None else _model_ids(body)
    if ids is None:
        raise ProviderNonsense(
            f"{http.host_of(target)} did not answer with a list of models. Staff should check the base URL; it usually"
            " ends in /v1.",
            detail="" if body is None else words_of(body, target=target),
        )
    return ids


def _model_ids(body: bytes) -> list[str] | None:
    """The ids in any of the shapes that servers use; None if it is no list of models."""
    value = whole.value_of(body)
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
