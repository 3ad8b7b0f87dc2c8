"""Pages that wait for somebody outside: they are made on the event loop, and hold neither a thread nor a connection."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.middleware.csrf import get_token

from accounts.errors import DomainError
from chats.errors import Unavailable
from chats.pages.doors import principal_of
from chats.replies.connections import counted
from chats.replies.database import AWAY, in_database

Make = Callable[[], HttpResponse]


def page_after(
    request: HttpRequest, work: Callable[[], Awaitable[Make]], *, on_error: Callable[[DomainError], HttpResponse]
) -> StreamingHttpResponse:
    """The response that `work` tells how to make; what is raised in it becomes a page by `on_error`.

    Somebody is signed in, and it counts among what they have open.
    """
    # What is still to be set in cookies must be known before anything is sent.
    get_token(request)
    response = StreamingHttpResponse(content_type="text/html; charset=utf-8")
    response.streaming_content = counted(principal_of(request), _body_of(response, work, on_error))
    return response


async def _body_of(
    response: StreamingHttpResponse,
    work: Callable[[], Awaitable[Make]],
    on_error: Callable[[DomainError], HttpResponse],
) -> AsyncGenerator[bytes, None]:
    """The status goes out with the first part."""
    try:
        made = await in_database(await work())
    except DomainError as error:
        made = await in_database(on_error, error)
    except AWAY:
        made = on_error(Unavailable())
    response.status_code = made.status_code
    if "Location" in made.headers:
        response.headers["Location"] = made.headers["Location"]
    yield made.content
