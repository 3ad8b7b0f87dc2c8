"""A look at a server of tools when its person asks for one: does it answer, and what does it offer?"""

from dataclasses import dataclass
from uuid import UUID

from asgiref.sync import async_to_sync

from chats.replies.database import in_database
from chats.tools.calling import endpoint_for_look, note_failure
from chats.tools.connections import look_at
from chats.tools.discovery import take_up
from chats.tools.errors import ToolServerError
from chats.tools.models import McpServer
from chats.tools.values import Found


@dataclass(frozen=True, slots=True)
class Look:
    """How it went; `message` is a sentence for people, the server's own words among it, never a secret."""

    ok: bool
    message: str
    code: str = ""


async def look(server_id: UUID, *, seconds: float) -> Look:
    """Ask a server what it offers, at most so long, and write down what was found. No connection is held meanwhile."""
    endpoint = await in_database(endpoint_for_look, server_id)
    if endpoint is None:
        return Look(ok=False, message="This server was removed.", code="not_found")
    try:
        found = await look_at(endpoint, seconds=seconds)
    except ToolServerError as error:
        await in_database(note_failure, server_id, error)
        return Look(ok=False, message=error.message, code=error.code)
    await in_database(_take_up, server_id, found)
    count = len(found.tools)
    return Look(ok=True, message=f"It answers, and offers {count} tool{'' if count == 1 else 's'}.")


look_now = async_to_sync(look)


def _take_up(server_id: UUID, found: Found) -> None:
    server = McpServer.objects.filter(pk=server_id).first()
    if server is not None:
        take_up(server, found)
