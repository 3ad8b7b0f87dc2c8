"""How replies and messages look from outside: the same JSON on REST, WebSocket and SSE."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings

from chats.cleaning import is_deep
from chats.knowledge.support import citations_of
from chats.models import Message, Reply, ToolCall
from chats.money import plain_usd
from chats.usage.models import UsageRecord

MESSAGE_FIELDS = (
    "id",
    "chat_id",
    "parent_id",
    "reply_id",
    "role",
    "content",
    "reasoning",
    "tool_calls",
    "tool_results",
    "sources",
    "attachments",
    "extra_data",
    "model_id",
    "notice",
    "is_imported",
    "created_at",
    "updated_at",
)
TOKEN_FIELDS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def moment(value: datetime | None) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if value else None


def message_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """One message from `.values(*MESSAGE_FIELDS)`, with plain names for the keys it refers to."""
    shown = {name.removesuffix("_id"): row[name] for name in MESSAGE_FIELDS}
    for name in ("id", "chat", "parent", "reply", "model"):
        shown[name] = str(shown[name]) if shown[name] else None
    shown["citations"] = citations_json(row["content"], row["sources"])
    shown["created_at"], shown["updated_at"] = moment(row["created_at"]), moment(row["updated_at"])
    return shown


def citations_json(content: str, sources: Any) -> list[dict[str, Any]]:
    """The markers in an answer from documents, in their order, and whether their passages seem to say so."""
    if not sources or not isinstance(sources, list):
        return []
    texts = [source.get("text") if isinstance(source, dict) else None for source in sources]
    return [
        {"numbers": list(found.numbers), "is_supported": found.is_supported, "missing": list(found.missing)}
        for found in citations_of(content, [text if isinstance(text, str) else "" for text in texts])
    ]


def message_json_of(message: Message) -> dict[str, Any]:
    """As `message_json`, of a message at hand."""
    return message_json({name: getattr(message, name) for name in MESSAGE_FIELDS})


def money(value: Decimal | None) -> str | None:
    """Exact USD without trailing zeros; None when unknown."""
    return None if value is None else plain_usd(value)


def reply_json(reply: Reply, records: list[UsageRecord] | None = None) -> dict[str, Any]:
    """One reply with what it used: `records`, or else those of `reply.usage_records`, to be prefetched in lists."""
    if records is None:
        records = list(reply.usage_records.all())
    return {
        "id": str(reply.pk),
        "chat": str(reply.chat_id),
        "prompt": str(reply.prompt_id) if reply.prompt_id else None,
        "message": str(reply.message_id) if reply.message_id else None,
        "continues": str(reply.continues_id) if reply.continues_id else None,
        "model": str(reply.model_id) if reply.model_id else None,
        "fallback_from": str(reply.fallback_from_id) if reply.fallback_from_id else None,
        "status": reply.status,
        "steps": reply.steps,
        "calls": [call_json(call) for call in _calls_of(reply)],
        "error": error_json(reply),
        "created_at": moment(reply.created_at),
        "started_at": moment(reply.started_at),
        "finished_at": moment(reply.finished_at),
        "usage": usage_json(records),
        "cost": cost_json(records),
    }


def error_json(reply: Reply) -> dict[str, str] | None:
    return {"code": reply.error_code, "message": reply.error_message} if reply.error_code else None


def usage_json(records: list[UsageRecord]) -> dict[str, Any] | None:
    """Tokens of all calls together; None before anything was booked."""
    if not records:
        return None
    totals: dict[str, Any] = {name: sum(getattr(record, name) for record in records) for name in TOKEN_FIELDS}
    return totals | {"is_estimated": any(record.is_estimated for record in records)}


def cost_json(records: list[UsageRecord]) -> str | None:
    costs = [record.cost for record in records]
    known = [cost for cost in costs if cost is not None]
    # One call without a price makes the sum unknown: a part of it would look like the whole.
    return money(sum(known, Decimal(0))) if known and len(known) == len(costs) else None


# Of what a model wrote as arguments, in an event; the reply has all of it.
ARGUMENTS_BYTES = 4_000


def call_json(call: ToolCall, *, is_short: bool = False) -> dict[str, Any]:
    """One call of a tool. In an event it `is_short`: long arguments are left out there, and the reply has them."""
    arguments = _arguments_json(call.arguments)
    is_cut = is_short and len(call.arguments.encode()) > min(ARGUMENTS_BYTES, settings.EVENT_MAX_BYTES // 8)
    return {
        "call": str(call.pk),
        "tool_call_id": call.call_id,
        "step": call.step,
        "message": str(call.message_id) if call.message_id else None,
        "result_message": str(call.result_message_id) if call.result_message_id else None,
        "tool": str(call.tool_id) if call.tool_id else None,
        "name": call.name,
        "title": call.title,
        "server": call.server_name,
        "arguments": None if is_cut else arguments,
        "is_read_only": call.is_read_only,
        "status": call.status,
        "because": call.because,
        "decision": call.decision,
        "decided_at": moment(call.decided_at),
        "reason": call.reason,
        "started_at": moment(call.started_at),
        "finished_at": moment(call.finished_at),
    }


def _arguments_json(text: str) -> Any:
    """What a model wrote, as JSON where it is JSON that can be shown as such."""
    try:
        value = orjson.loads(text) if text.strip() else {}
    except ValueError:
        return text
    return text if is_deep(value) else value


def _calls_of(reply: Reply) -> list[ToolCall]:
    return list(reply.calls.defer("output").order_by("step", "index")) if reply.steps else []
