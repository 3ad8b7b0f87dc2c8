"""A look at a server takes seconds. Its answer is a stream, which holds no thread and no connection until then."""

from uuid import UUID

from django.conf import settings
from django.http import StreamingHttpResponse

from chats.pages.doors import PageRequest, principal_of
from chats.replies.connections import CONNECTIONS, counted
from chats.replies.servers import looked


def check_room(request: PageRequest) -> None:
    """Whether this person may have one more answer that waits. Raises TooMany."""
    CONNECTIONS.check_room(request.user.pk)


def look_and_go(request: PageRequest, server_id: UUID, *, to: str) -> StreamingHttpResponse:
    """A redirect to a page that says what was found, once it was. Without a reader there is no look."""
    body = counted(principal_of(request), looked([server_id], seconds=settings.MCP_CONNECT_SECONDS))
    return StreamingHttpResponse(body, status=303, headers={"Location": to})
