"""Messages as JSON, from rows of `.values()` or from one that is at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from chats.models import Message
from chats.replies.present import MESSAGE_FIELDS, message_json


def messages_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `.values(*MESSAGE_FIELDS)`."""
    return [message_json(row) for row in rows]


def written_json(message: Message) -> dict[str, Any]:
    """One message that is at hand."""
    return message_json({name: getattr(message, name) for name in MESSAGE_FIELDS})
