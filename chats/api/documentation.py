"""Words of the schema that several resources share."""

from typing import Any, Final

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from chats.api import shapes
from chats.api.pagination import PAGE_MAX

MODEL_HELP: Final = "Id, name, or the provider's id of a model you may use. Left out: the chat's, else your first."
AGAIN_HELP: Final = "Another model; left out: the same again."
CLIENT_ID_HELP: Final = (
    "Yours, of at most 64 printable characters, new for each request: for 48 hours the same again in the same "
    "operation makes nothing new and gives the same answer."
)

PAGING: Final = [
    OpenApiParameter(
        "page",
        {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 1},
        description="A page beyond the end is empty.",
    ),
    OpenApiParameter(
        "page_size",
        {"type": "integer", "minimum": 1, "default": settings.PAGE_SIZE_DEFAULT},
        description=f"Rows on a page; at most {settings.PAGE_SIZE_MAX} come.",
    ),
]

EVENTS: Final = {
    (200, "text/event-stream"): OpenApiResponse(
        OpenApiTypes.STR,
        description=(
            "Server-Sent Events: `id` is the number of the event in its reply, `data` the JSON event with `seq`, "
            "`reply` and `type`: `reply.started`, `reply.snapshot` {text, reasoning, part?, parts?}, "
            "`text.delta` {text}, `reasoning.delta` {text}, `reply.restarted` {text, reasoning}, "
            "`sources.found` {sources} when the answer uses documents, "
            "`reply.fallback` {model, fallback_from, because, notice} when another model answers instead, "
            "`reply.finished` {status, error?, fallback_from?, message, message_url?, usage, cost}; "
            "`reply.gone`, without `seq`, when the reply was deleted. "
            "The text of a reply is that of the last snapshot or restart with the deltas after it. "
            f"No event has more than {settings.EVENT_MAX_BYTES:,} bytes: a long snapshot comes in parts with the same "
            "`seq`, which hold once the last one is there (only it has an `id`); of a long message the long fields are "
            "null, and `message_url` says where it is whole."
        ),
        examples=[
            OpenApiExample(
                "Two events",
                value='id: 2\ndata: {"seq":2,"reply":"…","type":"text.delta","text":"Hello"}\n\nid: 3\ndata: {…}\n\n',
            )
        ],
    )
}

STARTED: Final[dict[Any, Any]] = {201: shapes.StartedReply, 200: shapes.StartedReply, **EVENTS}
