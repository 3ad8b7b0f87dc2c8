"""Verbs on servers of tools and on what their people let them do. Each is one transaction."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import limits
from accounts.models import User
from accounts.queries import found
from chats.cleaning import check_line
from chats.errors import Conflict, Invalid, NotFound, TooMany
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
    """Change name, url, headers or enabled. To switch it off alone is never too much.

    A header whose value is MASK stays as it is, unless the host changes.
    Another address is another server: its tools are to be found anew, and nothing that was decided holds for them.
    """
    kept = {k: v for k, v in changes.items() if k in {"name", "url", "headers", "enabled"}}
    # First: what is no address must not pass for another server's.
    kept |= _clean(**{k: v for k, v in kept.items() if k != "headers"})
    if server.user is not None and changes != {"enabled": False}:
        count_change(server.user)
    with transaction.atomic(durable=True):
        # As it is now: a header that is kept must be this address's.
        before = lock_server(server.pk)
        moves = is_elsewhere(before, kept.get("url", before.url))
        if "headers" in kept or moves:
            kept |= _clean(headers=_unmasked(before, kept.get("headers"), is_elsewhere=moves))
        if moves:
            _forget_tools(before)
        if "url" in kept and kept["url"] != before.url:
            kept |= {"status": McpServer.Status.UNTRIED, "error_message": "", "about": {}, "notices": []}
            kept["asks_sign_in"] = False
        for field, value in kept.items():
            setattr(server, field, value)
        server.updated_at = timezone.now()
        server.save(update_fields=[*kept, "updated_at"])
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
        before = lock_server(server.pk)
        if _whereabouts(before) != _whereabouts(server):
            _forget_tools(server)
            server.forget_look()
            # Secrets that can't be read at the moment would be another server's later.
            fields |= {"headers", "environment", "status", "error_message", "about", "notices", "checked_at"}
            fields.add("asks_sign_in")
        server.updated_at = timezone.now()
        server.save(update_fields=fields)
    return server


def delete_server(server: McpServer) -> None:
    """Take a server away with its tools and its secrets. Raises NotFound."""
    with transaction.atomic():
        locked = lock_server(server.pk)
        _forget_tools(locked)
        locked.delete()


def lock_server(server_id: UUID) -> McpServer:
    """Its row as it is, held until the end of the transaction; first of all that is locked of it. Raises NotFound."""
    return found(McpServer.objects.select_for_update(), pk=server_id)


def lock_tool(tool_id: UUID | None) -> Tool | None:
    """A tool's row, so that it does not go before the end of the transaction; None when it is gone."""
    return Tool.objects.select_for_update(no_key=True).filter(pk=tool_id).first() if tool_id else None


def set_policy(user: User, tool: Tool, policy: str) -> None:
    """What `user` lets `tool` do from now on. Raises NotFound, and Conflict when the operator has denied it to all."""
    with transaction.atomic():
        locked = lock_tool(tool.pk)
        if locked is None:
            raise NotFound
        if locked.policy == Tool.Policy.DENY and policy != Tool.Policy.DENY:
            raise Conflict("The operator has switched this tool off.")
        ToolChoice.objects.update_or_create(user=user, tool=tool, defaults={"policy": policy})


def find_tools(user: User, server_id: UUID | None = None) -> QuerySet[Tool]:
    """The tools this person sees, each with their choice; of one server, or of all."""
    tools = Tool.objects.visible_to(user).with_choice_of(user).select_related("server")
    tools = tools.defer("server__headers", "server__environment")
    return tools.filter(server=server_id) if server_id else tools


def count_change(user: User) -> None:
    """Raises TooMany when this person's servers were changed, or tried, too often."""
    most = settings.MCP_CHANGES_PER_HOUR
    try:
        limits.hit("mcp-changes", str(user.pk), limit=most, seconds=CHANGES_SECONDS)
    except TooMany as error:
        minutes = math.ceil(error.retry_after_seconds / 60)
        words = (
            f"Servers can be changed and tested {most} times an hour. Go on in {minutes} minutes; until then you can"
        )
        raise TooMany(f"{words} switch them off.", retry_after_seconds=error.retry_after_seconds) from None


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


def _forget_tools(server: McpServer) -> None:
    """With what people have decided about them. Their tokens go too: they were for another server."""
    # Whoever writes down a call of one holds it until that is stored.
    list(server.tools.select_for_update().order_by("pk").values_list("pk", flat=True))
    server.tools.all().delete()
    server.credentials.all().delete()
    server.sign_ins.all().delete()


def is_at(server: McpServer, endpoint: Endpoint) -> bool:
    """Whether the server is still where `endpoint` says."""
    now = endpoint_of(server)
    return (now.origin, now.command) == (endpoint.origin, endpoint.command)


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
