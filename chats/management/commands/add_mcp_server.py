"""`manage.py add_mcp_server`: create or update a server of tools for everyone or for groups. Prints one JSON object."""

import json
from argparse import BooleanOptionalAction
from collections.abc import Iterable
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from chats.errors import Invalid
from chats.replies.servers import Look, look_now
from chats.tools.addresses import check_headers, check_variables
from chats.tools.models import McpServer
from chats.tools.services import is_elsewhere, save_shared_server

SECRETS = ("headers", "environment")


class Command(BaseCommand):
    help = (
        "Create or update a server of tools (MCP) for everyone or for groups, and look what it offers. Prints JSON; so "
        "are errors, with exit code 1. One that does not answer is stored all the same. Another address or program is "
        "another server, for which headers and variables have to be given anew."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="as people see it")
        parser.add_argument("--url", help="of its streamable HTTP endpoint")
        parser.add_argument(
            "--header", action="append", help="«Name: value», stored encrypted; those given take the place of all"
        )
        parser.add_argument("--command", help="a program on this server, instead of --url")
        parser.add_argument("--arg", action="append", help="of the program; nothing is expanded. Write --arg=--root")
        parser.add_argument("--env", action="append", help="«NAME=value» for the program, stored encrypted")
        parser.add_argument("--group", action="append", help="who may use it; without it everyone, or as it was")
        parser.add_argument("--everyone", action="store_true", help="for everyone again, and no group")
        parser.add_argument(
            "--enabled",
            action=BooleanOptionalAction,
            help="on or off; without it a new server is on, another as it was",
        )
        parser.add_argument("--disabled", action="store_false", dest="enabled", help="the same as --no-enabled")

    def handle(self, **options: Any) -> None:
        try:
            server, is_new = _save(options)
        except Invalid as error:
            body = {"error": {"code": error.code, "message": error.message, "fields": error.fields}}
            self.stderr.write(json.dumps(body))
            raise SystemExit(1) from None
        look = look_now(server.pk, seconds=settings.MCP_TEST_SECONDS)
        self.stdout.write(json.dumps(_shown(server, look, is_new=is_new)))


def _save(options: dict[str, Any]) -> tuple[McpServer, bool]:
    """The server, and whether it is new."""
    groups = [] if options["everyone"] else _groups(options["group"])
    server = _present(options["name"]) or McpServer(name=options["name"])
    is_new = server._state.adding
    changed = _fill(server, options)
    try:
        server.full_clean(exclude=["prefix"])
    except ValidationError as error:
        raise Invalid(fields=error.message_dict) from None
    with transaction.atomic():
        # Together: a new server must not be everyone's for a moment.
        save_shared_server(server, changed=changed)
        if groups is not None:
            server.groups.set(groups)
    return server, is_new


def _present(name: str) -> McpServer | None:
    found = list(McpServer.objects.remote().filter(user=None, name=name)[:2])
    if len(found) > 1:
        raise Invalid(f"There are several servers named «{name[:40]}». Change them in the admin.")
    return found[0] if found else None


def _groups(names: Iterable[str] | None) -> list[Group] | None:
    """Those of these names; None when none were given. Raises Invalid."""
    if names is None:
        return None
    wanted = set(names)
    found = list(Group.objects.filter(name__in=wanted))
    if missing := wanted - {group.name for group in found}:
        raise Invalid(fields={"group": [f"There is no group «{min(missing)[:40]}». Groups are made in the admin."]})
    return found


def _fill(server: McpServer, options: dict[str, Any]) -> set[str]:
    """Write what was given into `server`, and return the names of its fields."""
    headers, environment = _pairs(options["header"], ":", "header"), _pairs(options["env"], "=", "env")
    check_headers(headers or {})
    check_variables(environment or {})
    given = {"arguments": options["arg"], "headers": headers, "environment": environment}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changed |= {name: orjson.dumps(changed[name]).decode() for name in SECRETS if name in changed}
    changed |= _place(server, url=options["url"], command=options["command"]) | changed
    if options["enabled"] is not None:
        changed["enabled"] = options["enabled"]
    for name, value in changed.items():
        setattr(server, name, value)
    return set(changed)


def _place(server: McpServer, *, url: str | None, command: str | None) -> dict[str, Any]:
    """The fields that say where a server is; where it is another one by that, without its secrets."""
    if url is not None and command is not None:
        raise Invalid("Give either --url or --command.")
    if url is not None:
        fields = {"transport": McpServer.Transport.HTTP, "url": url, "command": "", "arguments": []}
        moves = is_elsewhere(server, url)
    elif command is not None:
        fields = {"transport": McpServer.Transport.STDIO, "url": "", "command": command}
        moves = command.strip() != server.command
        if moves:
            # What the other one was started with is nothing to this one, and may be a secret.
            fields["arguments"] = []
    else:
        return {}
    return fields | (dict.fromkeys(SECRETS, "") if moves else {})


def _pairs(lines: Iterable[str] | None, separator: str, field: str) -> dict[str, str] | None:
    if lines is None:
        return None
    pairs = [[part.strip() for part in line.partition(separator)] for line in lines]
    if not all(name and sign for name, sign, _ in pairs):
        raise Invalid(fields={field: [f"Write a name, «{separator}» and the value."]})
    return {name: value for name, _, value in pairs}


def _shown(server: McpServer, look: Look, *, is_new: bool) -> dict[str, Any]:
    server.refresh_from_db()
    return {
        "id": str(server.pk),
        "name": server.name,
        "transport": server.transport,
        "url": server.url,
        "command": server.command,
        "enabled": server.enabled,
        "groups": sorted(server.groups.values_list("name", flat=True)),
        "status": server.status,
        "message": look.message,
        "tools": sorted(server.tools.filter(is_listed=True).values_list("name", flat=True)),
        "created": is_new,
    }
