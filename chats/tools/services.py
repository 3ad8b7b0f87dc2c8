"""Verbs on servers of tools and on what their people let them do. Each is one transaction."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import limits
from accounts.models import User
from chats.cleaning import check_line
from chats.errors import Conflict, Invalid
from chats.tools.addresses import check_headers, check_url, origin_of
from chats.tools.models import McpServer, Tool, ToolChoice
from chats.tools.models.server import NAME_MAX_LENGTH, PREFIX_MAX_LENGTH
from chats.tools.values import Endpoint

# What stands for a secret where it is shown, and for «as it was» where it is sent back.
MASK = "••••••••"
CHANGES_SECONDS = 3600


def add_server(user: User, *, name: str, url: str, headers: Mapping[str, str], enabled: bool = True) -> McpServer:
    """A server of `user`'s own, not looked at yet. Raises Invalid, Conflict at MCP_SERVERS_PER_USER, and TooMany."""
    fields = _clean(name=name, url=url, headers=headers)
    count_change(user)
    with transaction.atomic(durable=True):
        # Two requests at once must not both be the last that is allowed.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        prefixes = set(user.mcp_servers.values_list("prefix", flat=True))
        if len(prefixes) >= settings.MCP_SERVERS_PER_USER:
            raise Conflict(f"You have {len(prefixes)} servers, which is as many as one may have. Remove one first.")
        server = McpServer(user=user, prefix=prefix_of(fields["name"], prefixes), enabled=enabled, **fields)
        server.save(force_insert=True)
    return server


def update_server(server: McpServer, **changes: Any) -> McpServer:
    """Change name, url, headers or enabled. A header whose value is MASK stays as it is, unless the host changes.

    Another address is another server: its tools are to be found anew, and nothing that was decided holds for them.
    """
    kept = {k: v for k, v in changes.items() if k in {"name", "url", "headers", "enabled"}}
    if "url" in kept:
        # First: what is no address must not pass for another server's.
        kept["url"] = check_url(kept["url"], is_trusted=False)
    moves = is_elsewhere(server, kept.get("url", server.url))
    if "headers" in kept or moves:
        kept["headers"] = _unmasked(server, kept.get("headers"), is_elsewhere=moves)
    fields = _clean(**kept)
    if server.user is not None:
        count_change(server.user)
    with transaction.atomic(durable=True):
        if moves:
            server.tools.all().delete()
            _forget_people(server)
        if "url" in fields and fields["url"] != server.url:
            fields |= {"status": McpServer.Status.UNTRIED, "error_message": "", "about": {}, "notices": []}
            fields["asks_sign_in"] = False
        for field, value in fields.items():
            setattr(server, field, value)
        server.updated_at = timezone.now()
        server.save(update_fields=[*fields, "updated_at"])
    return server


def save_shared_server(server: McpServer, *, changed: Iterable[str] = ()) -> McpServer:
    """Store a server of the operator that `full_clean` has passed: a new one, or the `changed` fields of one.

    Another address or program is another server: its tools are to be found, and decided about, anew.
    """
    with transaction.atomic():
        if server._state.adding:
            taken = set(McpServer.objects.filter(user=None).values_list("prefix", flat=True))
            server.prefix = prefix_of(server.name, taken)
            server.save(force_insert=True)
            return server
        fields = {*changed, "updated_at"}
        before = McpServer.objects.select_for_update().get(pk=server.pk)
        if _whereabouts(before) != _whereabouts(server):
            server.tools.all().delete()
            _forget_people(server)
            server.forget_look()
            # Secrets that can't be read at the moment would be another server's later.
            fields |= {"headers", "environment", "status", "error_message", "about", "notices", "checked_at"}
            fields.add("asks_sign_in")
        server.updated_at = timezone.now()
        server.save(update_fields=fields)
    return server


def delete_server(server: McpServer) -> None:
    """Take a server away with its tools and its secrets."""
    with transaction.atomic(durable=True):
        server.delete()


def set_policy(user: User, tool: Tool, policy: str) -> None:
    """What `user` lets `tool` do from now on. Raises Conflict when the operator has denied it to all."""
    if tool.policy == Tool.Policy.DENY and policy != Tool.Policy.DENY:
        raise Conflict("The operator has switched this tool off.")
    with transaction.atomic():
        ToolChoice.objects.update_or_create(user=user, tool=tool, defaults={"policy": policy})


def count_change(user: User) -> None:
    """Raises TooMany when this person's servers were changed, or tried, too often."""
    limits.hit("mcp-changes", str(user.pk), limit=settings.MCP_CHANGES_PER_HOUR, seconds=CHANGES_SECONDS)


def headers_of(server: McpServer) -> dict[str, str]:
    """The headers it is shown, in plain. For the wire, and for nothing else."""
    return _object(server.headers)


def is_elsewhere(server: McpServer, url: str) -> bool:
    """Whether this address is another server's, to which its credentials are not to be shown."""
    return origin_of(url.strip()) != origin_of(server.url)


def masked_headers(server: McpServer) -> dict[str, str]:
    """Their names, for people."""
    return dict.fromkeys(headers_of(server), MASK)


def endpoint_of(server: McpServer) -> Endpoint:
    """Where a server is, with its secrets."""
    return Endpoint(
        name=server.name,
        url=server.url,
        headers=headers_of(server),
        command=server.command if server.transport == McpServer.Transport.STDIO else "",
        arguments=tuple(str(argument) for argument in server.arguments),
        environment=_object(server.environment),
        is_trusted=server.is_shared,
        is_old=_speaks_old(server.about),
    )


def prefix_of(name: str, taken: set[str]) -> str:
    """What the names of a server's tools begin with: its name in plain letters, unlike those that are `taken`."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:PREFIX_MAX_LENGTH].strip("_") or "server"
    prefix, number = plain, 1
    while prefix in taken:
        number += 1
        prefix = f"{plain[: PREFIX_MAX_LENGTH - len(str(number)) - 1]}_{number}"
    return prefix


def _forget_people(server: McpServer) -> None:
    """Their tokens were for another server, and those who are on their way back come to it."""
    server.credentials.all().delete()
    server.sign_ins.all().delete()


def _whereabouts(server: McpServer) -> tuple[object, ...]:
    """What tells one server from another."""
    return server.transport, origin_of(server.url), server.command


def _clean(**fields: Any) -> dict[str, Any]:
    cleaned = dict(fields)
    if "name" in fields:
        cleaned["name"] = check_line(fields["name"], field="name", max_length=NAME_MAX_LENGTH)
        if not cleaned["name"]:
            raise Invalid(fields={"name": ["Give it a name."]})
    if "url" in fields:
        cleaned["url"] = check_url(fields["url"], is_trusted=False)
    if "headers" in fields:
        check_headers(fields["headers"])
        cleaned["headers"] = orjson.dumps(dict(fields["headers"])).decode() if fields["headers"] else ""
    return cleaned


def _unmasked(server: McpServer, headers: Mapping[str, str] | None, *, is_elsewhere: bool) -> dict[str, str]:
    before = headers_of(server)
    sent = dict(before if headers is None else headers)
    kept = {name for name, value in sent.items() if headers is None or value == MASK}
    if is_elsewhere and kept:
        raise Invalid(
            fields={"headers": ["The address is another server's: enter its headers anew, or leave them out."]}
        )
    if missing := kept - before.keys():
        raise Invalid(fields={"headers": [f"There is no value stored for {min(missing)[:40]}: enter it."]})
    return {name: before[name] if name in kept else value for name, value in sent.items()}


def _object(text: str) -> dict[str, str]:
    value = orjson.loads(text) if text else {}
    return {str(name): str(held) for name, held in value.items()} if isinstance(value, dict) else {}


def _speaks_old(about: Mapping[str, Any]) -> bool:
    # Revisions are dates; the first without `initialize` is this one.
    return "" < str(about.get("protocol", "")) < "2026-07-28"


def find_tools(user: User, server_id: UUID | None = None) -> Any:
    """The tools this person sees, each with their choice; of one server, or of all."""
    tools = Tool.objects.visible_to(user).with_choice_of(user).select_related("server")
    tools = tools.defer("server__headers", "server__environment")
    return tools.filter(server=server_id) if server_id else tools
