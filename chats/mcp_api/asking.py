"""The tool that asks a model: a reply like any other, followed to its end, with words on how far it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.urls import reverse

from accounts.authentication import is_still_valid
from accounts.errors import Unauthenticated
from accounts.queries import found
from chats.errors import Invalid, NotFound, Unavailable
from chats.mcp_api.calls import Call
from chats.models import Reply, ToolCall
from chats.replies.database import AWAY, in_database
from chats.replies.follow import until_rest
from chats.replies.present import reply_json
from chats.replies.retrieval import DocumentUse, title_of
from chats.replies.services import StartedReply, start_reply

Report = Callable[[float, float | None, str], Awaitable[None]]

PROGRESS_SECONDS = 0.5
TAIL_CHARACTERS = 100
EXCERPT_CHARACTERS = 300
ANSWER_TRIES = 20
ANSWER_PAUSE_SECONDS = 0.5
BAD_ENDS = {Reply.Status.FAILED, Reply.Status.INTERRUPTED, Reply.Status.BUDGET_EXCEEDED}


async def ask_model(call: Call, report: Report, **asked: Any) -> dict[str, Any]:
    """Ask, and wait until there is an answer, or it waits for a person to allow something, or this process must end.

    Raises what `start_reply` raises, and Unauthenticated when the credential no longer holds.
    """
    if call.stream.over.done():
        raise Unavailable("This server is about to restart. Nothing was asked; try again in a few seconds.")
    started = await call.begin(in_database(_start, call, **asked))
    await _follow(started.reply.pk, call, report)
    answer = await _insist(_answer, call, started.reply.pk)
    # It is over, or others care for it from here on.
    call.reply_id = None
    return answer


async def _insist(ask: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """As `in_database`. What was paid for is not lost to a restart of the database."""
    for _ in range(ANSWER_TRIES):
        with suppress(*AWAY):
            return await in_database(ask, *args)
        await asyncio.sleep(ANSWER_PAUSE_SECONDS)
    return await in_database(ask, *args)


def _start(
    call: Call,
    *,
    message: str,
    model: str | None,
    chat: UUID | None,
    use_documents: bool | None,
    system: str | None,
) -> StartedReply:
    if system is not None and chat is not None:
        raise Invalid(fields={"system": ["Only for a new chat. Leave it out, or leave out «chat»."]})
    of_new_chat: dict[str, Any] = {"system_prompt": system} if system is not None else {}
    started = start_reply(
        call.principal.user,
        content=message,
        chat_id=chat,
        model=model,
        use_documents=None if use_documents is None else DocumentUse(use_documents),
        **of_new_chat,
    )
    call.reply_id = started.reply.pk
    call.note_reply(started.reply.pk)
    return started


async def _follow(reply_id: UUID, call: Call, report: Report) -> None:
    progress = _Progress(report)
    async with aclosing(until_rest(reply_id, over=call.stream.over, is_new=True)) as events:
        async for _, event in events:
            await progress.tell(orjson.loads(event))


class _Progress:
    """Tells how far a reply is: a line now and then. Its number grows, and has no end that is known before."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._text = ""
        self._number, self._told_at = 0.0, 0.0

    async def tell(self, event: Mapping[str, Any]) -> None:
        line = self._line_of(event)
        is_step = event["type"] not in {"text.delta", "reasoning.delta"}
        if not line or (not is_step and time.monotonic() - self._told_at < PROGRESS_SECONDS):
            return
        self._number, self._told_at = max(self._number + 1, float(len(self._text))), time.monotonic()
        await self._report(self._number, None, line)

    def _line_of(self, event: Mapping[str, Any]) -> str:
        match event:
            case {"type": "reply.started"}:
                return "The model was asked."
            case {"type": "text.delta", "text": text}:
                self._text += text
                return f"{len(self._text)} characters: …{' '.join(self._text[-TAIL_CHARACTERS:].split())}"
            case {"type": "reply.snapshot" | "reply.restarted", "text": text}:
                self._text = text
            case {"type": "reasoning.delta"}:
                return "The model is thinking."
            case {"type": "sources.found", "sources": sources}:
                return f"{len(sources)} passages of documents were found."
            case {"type": "tool.called", "name": name}:
                return f"The model calls {name}."
            case {"type": "reply.fallback", "notice": notice}:
                return str(notice)
        return ""


# ---------------------------------------------------------------- what came of it
def _answer(call: Call, reply_id: UUID) -> dict[str, Any]:
    """How the reply stands. Raises Unauthenticated and NotFound."""
    if not is_still_valid(call.principal):
        raise Unauthenticated
    reply = found(Reply.objects.visible_to(call.principal.user).select_related("message", "model"), pk=reply_id)
    if reply.message is None:
        raise NotFound("This answer was deleted.")
    shown = reply_json(reply)
    return {
        "chat": shown["chat"],
        "reply": shown["id"],
        "status": str(reply.status),
        "model": reply.model and reply.model.name,
        "text": reply.message.content,
        "sources": [_source_json(source) for source in reply.message.sources],
        "usage": shown["usage"],
        "cost_usd": shown["cost"],
        "error": shown["error"],
        "waiting_for": [_waiting_json(each) for each in shown["calls"] if each["status"] == ToolCall.Status.WAITING],
        "notice": reply.message.notice,
        "page": f"{settings.FRONTEND_HOST}{reverse('pages:chat', args=[reply.chat_id])}",
    }


def _source_json(source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": source["number"],
        "document": source["document"],
        "title": title_of(source),
        "excerpt": str(source["text"])[:EXCERPT_CHARACTERS],
    }


def _waiting_json(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in ("call", "name", "server", "arguments", "because")}


def told(answer: Mapping[str, Any]) -> str:
    """An answer as a model reads it."""
    lines = [answer["text"], *([answer["notice"]] if answer["notice"] else [])]
    if answer["sources"]:
        lines.append(
            "\n".join(["Sources:", *(f"[{source['number']}] {source['title']}" for source in answer["sources"])])
        )
    lines.append(_how_it_ended(answer))
    lines.append(f"(chat {answer['chat']})")
    return "\n\n".join(line for line in lines if line)


def _how_it_ended(answer: Mapping[str, Any]) -> str:
    error = answer["error"] or {}
    match answer["status"]:
        case Reply.Status.COMPLETED:
            return ""
        case Reply.Status.STOPPED:
            return "The answer was stopped before its end."
        case Reply.Status.WAITING:
            names = ", ".join(each["name"] for each in answer["waiting_for"]) or "a tool"
            return (
                f"The model wants to call {names}, which a person has to allow first, on the page {answer['page']} of"
                " this server or over its API. The answer goes on by itself then; read it with get_chat."
            )
        case Reply.Status.QUEUED | Reply.Status.RUNNING:
            return "The server restarts, and the answer goes on meanwhile. Read it with get_chat in a while."
    return f"{error.get('message', 'The answer did not come to its end.')} (code: {error.get('code', 'unknown')})"
