"""Whose tools the answers of a chat may use: a choice of servers, made fit to be stored. None: those of all servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.models import User
from chats.errors import Invalid
from chats.tools.models import McpServer

SERVERS_MAX = 100


@dataclass(frozen=True)
class ToolUse:
    """Whose tools answers may use. None: those of all servers, also of ones that are added later."""

    servers: Sequence[UUID] | None

    @property
    def stored(self) -> dict[str, Any] | None:
        """As `clean_tools` takes it."""
        return None if self.servers is None else {"servers": [str(pk) for pk in self.servers]}


def clean_tools(tools: Mapping[str, Any] | None) -> dict[str, list[str]] | None:
    """`{"servers": [ids]}` as chats have it, each named once. Raises Invalid for anything else but None."""
    if tools is None:
        return None
    servers = tools.get("servers") if isinstance(tools, Mapping) else None
    if not isinstance(servers, list | tuple) or len(servers) > SERVERS_MAX:
        raise _invalid(f"Name at most {SERVERS_MAX} servers, none for no tools; or say null for those of all.")
    try:
        return {"servers": list(dict.fromkeys(str(UUID(str(pk))) for pk in servers))}
    except ValueError:
        raise _invalid("Each server is named by its id.") from None


def check_tools(user: User, tools: Mapping[str, list[str]] | None) -> None:
    """Raises Invalid when `user` may not see one of the servers of what `clean_tools` has made."""
    ids = tools["servers"] if tools else []
    if ids and McpServer.objects.visible_to(user).filter(pk__in=ids).count() != len(ids):
        raise _invalid("One of these servers is not there, or not yours.")


def _invalid(sentence: str) -> Invalid:
    return Invalid(fields={"tools": [sentence]})
