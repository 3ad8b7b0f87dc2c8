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


def look_and_go(
    request: PageRequest, *server_ids: UUID, to: str, seconds: float | None = None
) -> StreamingHttpResponse:
    """A redirect to a page that says what was found, once it was, or after so long, else MCP_CONNECT_SECONDS.

    Without a reader there is no look.
    """
    body = counted(principal_of(request), looked(server_ids, seconds=seconds or settings.MCP_CONNECT_SECONDS))
    return StreamingHttpResponse(body, status=303, headers={"Location": to})
