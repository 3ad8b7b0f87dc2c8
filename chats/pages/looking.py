"""A look at a server takes seconds. Its answer is a stream, which holds no thread and no connection until then."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.http import StreamingHttpResponse

from chats.pages.doors import PageRequest, principal_of
from chats.replies.connections import CONNECTIONS, counted
from chats.replies.database import AWAY
from chats.replies.servers import look


def check_room(request: PageRequest) -> None:
    """Whether this person may have one more answer that waits. Raises TooMany."""
    CONNECTIONS.check_room(request.user.pk)


def look_and_go(request: PageRequest, server_id: UUID, *, to: str) -> StreamingHttpResponse:
    """A redirect to a page that says what was found, once it was. Without a reader there is no look."""
    body = counted(principal_of(request), _looked(server_id))
    return StreamingHttpResponse(body, status=303, headers={"Location": to})


async def _looked(server_id: UUID) -> AsyncGenerator[bytes, None]:
    # That page says so itself when the database is away.
    with suppress(*AWAY):
        await look(server_id, seconds=settings.MCP_CONNECT_SECONDS)
    yield b""
