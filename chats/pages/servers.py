"""Servers of tools as their pages show them, in words: whose they are, how they are, and what their tools may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from accounts.models import User
from accounts.queries import one_or_none
from chats.tools.comparing import Difference, show_unseen, shown_differences
from chats.tools.discovery import mark_of, pretty
from chats.tools.models import McpServer, Tool
from chats.tools.services import find_tools

# More than a server may offer at once: the rest are those it offered once.
TOOLS_SHOWN: Final = 300
# Of a description, so much is always in view.
BEGINNING_CHARACTERS: Final = 180
PARAMETERS_SHOWN: Final = 12
PARAMETER_CHARACTERS: Final = 60
POLICIES: Final = [
    (Tool.Policy.ALLOW, "Allow"),
    (Tool.Policy.ASK, "Ask"),
    (Tool.Policy.DENY, "Deny"),
]


@dataclass(frozen=True)
class ServerList:
    own: list[McpServer]
    shared: list[McpServer]
    builtin: list[McpServer]
    own_max: int

    @property
    def is_full(self) -> bool:
        return len(self.own) >= self.own_max


@dataclass(frozen=True)
class ShownTool:
    """A tool of `with_choice_of()`. All that its server has written is plain text."""

    tool: Tool
    is_own: bool

    @property
    def title(self) -> str:
        return show_unseen(str(self.tool))

    @property
    def name(self) -> str:
        return show_unseen(self.tool.name)

    @cached_property
    def description(self) -> str:
        return show_unseen(self.tool.description.strip())

    @property
    def beginning(self) -> str:
        """Of a long description its first words; "" when it is short."""
        first_line, _, rest = self.description.partition("\n")
        if not rest and len(first_line) <= BEGINNING_CHARACTERS:
            return ""
        return first_line[:BEGINNING_CHARACTERS].rstrip() + " …"

    @property
    def takes(self) -> str:
        """The names of its arguments."""
        given = self.tool.input_schema.get("properties")
        names = [show_unseen(str(name)[:PARAMETER_CHARACTERS]) for name in given] if isinstance(given, dict) else []
        more = ", …" if len(names) > PARAMETERS_SHOWN else ""
        return ", ".join(names[:PARAMETERS_SHOWN]) + more

    @property
    def effect(self) -> str:
        """What it does to the world, as far as its server tells."""
        said = self.tool.annotations
        if self.tool.is_read_only:
            return "Only reads."
        if said.get("readOnlyHint") is True:
            return "Its server says that it only reads, but its name or what else is said of it speaks against that."
        if said.get("destructiveHint") is True:
            return "May delete or overwrite something."
        return "May change something."

    @property
    def state(self) -> str:
        """Which of the parts of the list it is in."""
        if not self.tool.is_listed:
            return "gone"
        if self.tool.problem:
            return "broken"
        return "suspended" if self.tool.is_suspended else "usable"

    @property
    def is_denied_to_all(self) -> bool:
        return self.tool.policy == Tool.Policy.DENY

    @property
    def choices(self) -> list[tuple[str, str, bool]]:
        """What it may be let do: the value, its name, and whether it holds."""
        chosen = self.tool.policy_chosen
        return [(policy.value, name, policy == chosen) for policy, name in POLICIES]

    @property
    def schema_text(self) -> str:
        return show_unseen(pretty(self.tool.input_schema))

    @property
    def annotations_text(self) -> str:
        return show_unseen(pretty(self.tool.annotations))

    @property
    def mark(self) -> str:
        return mark_of(self.tool)

    @property
    def differences(self) -> list[Difference]:
        return shown_differences(self.tool)


@dataclass(frozen=True)
class ShownServer:
    server: McpServer
    tools: list[ShownTool]
    is_own: bool
    is_cut: bool

    def _in(self, state: str) -> list[ShownTool]:
        return [tool for tool in self.tools if tool.state == state]

    @property
    def suspended(self) -> list[ShownTool]:
        return self._in("suspended")

    @property
    def usable(self) -> list[ShownTool]:
        return self._in("usable")

    @property
    def broken(self) -> list[ShownTool]:
        return self._in("broken")

    @property
    def gone(self) -> list[ShownTool]:
        return self._in("gone")

    @property
    def says(self) -> str:
        """What it says of itself."""
        about: Mapping[str, Any] = self.server.about
        name, version = (show_unseen(str(about.get(key, ""))) for key in ("name", "version"))
        return " ".join(part for part in (f"«{name}»" if name else "", f"version {version}" if version else "") if part)

    @property
    def notices(self) -> list[str]:
        return [show_unseen(str(notice)) for notice in self.server.notices]


def server_list(user: User) -> ServerList:
    """All servers that `user` sees."""
    servers = list(McpServer.objects.visible_to(user).with_sign_in_of(user).with_counts().without_secrets())
    return ServerList(
        own=[server for server in servers if not server.is_shared],
        shared=[server for server in servers if server.is_shared and not server.is_builtin],
        builtin=[server for server in servers if server.is_builtin],
        own_max=settings.MCP_SERVERS_PER_USER,
    )


def row_of(user: User, server_id: UUID) -> McpServer | None:
    """One server as the list shows it."""
    servers = McpServer.objects.visible_to(user).with_sign_in_of(user).with_counts().without_secrets()
    return one_or_none(servers, pk=server_id)


def shown_server(user: User, server_id: UUID) -> ShownServer | None:
    """One server with its tools: those that it offers first."""
    server = row_of(user, server_id)
    if server is None:
        return None
    tools = list(find_tools(user, server.pk).order_by("-is_listed", "name")[: TOOLS_SHOWN + 1])
    is_own = server.user_id == user.pk
    shown = [ShownTool(tool, is_own) for tool in tools[:TOOLS_SHOWN]]
    return ShownServer(server, shown, is_own, is_cut=len(tools) > TOOLS_SHOWN)


def shown_tool(user: User, tool_id: UUID) -> ShownTool | None:
    """One tool, with what `user` lets it do."""
    tool = one_or_none(find_tools(user), pk=tool_id)
    return ShownTool(tool, tool.server.user_id == user.pk) if tool else None
