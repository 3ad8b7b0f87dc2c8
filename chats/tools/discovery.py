"""What a server was found to offer, held against the rows: new tools, changed ones, and those that are gone."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.queries import found as required
from chats.cleaning import check_json, clean_text
from chats.errors import Invalid, NotFound
from chats.tools.errors import ServerChanged
from chats.tools.models import McpServer, Tool
from chats.tools.models.tool import CALLED_MAX_LENGTH
from chats.tools.services import is_at, lock_server
from chats.tools.values import Endpoint, Found, FoundTool

NAME_MAX_LENGTH = 64
TITLE_MAX_LENGTH = 200
ANNOTATIONS_MAX_BYTES = 2_000
# Words in a name that no tool has which only reads, whatever its server says of it.
_CHANGING = frozenset(
    """
    add alter append apply approve archive assign attach authorize ban block book buy cancel change charge checkout
    chmod chown clear click clone close commit compose copy deactivate deploy deposit deregister detach disable
    dispatch drop edit empty enable erase evict exec fill flush forward generate grant import install invite invoke
    kill launch lock mark merge migrate mkdir modify move mutate mute notify order patch pay post press provision
    purchase purge push put reboot refund register reject rename reply reschedule reset resolve restart restore
    revert revoke rm rmdir rollback rotate run save schedule sell set share shutdown sign spend start stop submit
    subscribe sync terminate toggle trade transfer trigger tweet unassign unban unblock uninstall unlink unlock
    unpublish unregister unshare unsubscribe upsert vote wipe withdraw
    """.split()  # noqa: SIM905 - as a list it is a page of single words
)
# The same at the beginning of a word, which may go on, as in «deletefile» or «updated».
_CHANGING_STARTS = (
    *("creat", "delet", "destroy", "execut", "insert", "overwrit", "publish", "remov", "replac", "send", "truncat"),
    *("updat", "upload", "writ"),
)
# Words as names are put together: deleteUser, DELETE_USER, DELETEuser.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_RUNS = re.compile(r"[A-Z]+|[a-z]+")
_EXACT_FLOATS = 1e16  # from here on PostgreSQL gives a float back as a whole number


def take_up(server_id: UUID, found: Found, *, at: Endpoint, is_all: bool = True) -> None:
    """Make the rows of a server what was found `at` this place. `is_all`: others are gone.

    A tool that is another than the one that was accepted is suspended, not replaced. The caller holds no transaction.
    Raises NotFound when the server is gone, or elsewhere by now: what was found there is another's.
    """
    now = timezone.now()
    with transaction.atomic():
        # One look at a time: two would add the same tools.
        locked = lock_server(server_id)
        if not is_at(locked, at):
            raise NotFound
        present = {tool.name: tool for tool in locked.tools.all()}
        listed = {tool.name[:TITLE_MAX_LENGTH]: tool for tool in found.tools}
        taken = {tool.called for tool in present.values()}
        for name, tool in listed.items():
            row = present.get(name)
            if row is None:
                _add(locked, name, tool, taken=taken)
            else:
                _compare(row, tool)
        gone = [row.pk for name, row in present.items() if is_all and name not in listed and row.is_listed]
        if gone:
            Tool.objects.filter(pk__in=gone).update(is_listed=False, updated_at=now)
            _forget_long_gone(locked)
        locked.notices = [*found.notices, *_notices(locked)]
        locked.about = dict(found.about)
        locked.status, locked.error_message, locked.checked_at = McpServer.Status.READY, "", now
        locked.save(update_fields=["notices", "about", "status", "error_message", "checked_at"])


def accept_change(tool: Tool, *, seen: str | None = None) -> None:
    """Pin the tool as its server offers it now. What was decided about the earlier one does not hold for it.

    `seen` is the `mark_of` what was looked at: raises ServerChanged when it has become something else meanwhile, and
    NotFound when it is gone.
    """
    with transaction.atomic():
        row = required(Tool.objects.select_for_update(), pk=tool.pk)
        if seen is not None and seen != mark_of(row):
            raise ServerChanged
        if row.changed is not None:
            _pin(row, row.changed)
            row.changed = None
            if row.policy != Tool.Policy.DENY:
                row.policy = ""
            row.save()
            row.choices.all().delete()
    tool.refresh_from_db()


def mark_of(tool: Tool) -> str:
    """What tells the change of a suspended tool from every other; "" when there is none."""
    return _hash_of(tool.changed) if tool.changed is not None else ""


def is_believed_read_only(name: str, annotations: Mapping[str, Any]) -> bool:
    """Whether a tool only reads: its server says so, says nothing against it, and has not named it like a change."""
    words = {word.lower() for word in [*_WORDS.findall(name), *_RUNS.findall(name)]}
    claims = annotations.get("readOnlyHint") is True and annotations.get("destructiveHint") is not True
    return claims and not words & _CHANGING and not any(word.startswith(_CHANGING_STARTS) for word in words)


def differences(tool: Tool) -> list[tuple[str, str, str]]:
    """What has changed of a suspended tool: of what, as it was, as it is."""
    new = tool.changed or {}
    pairs = [
        ("title", tool.title, new.get("title", "")),
        ("description", tool.description, new.get("description", "")),
        ("input schema", pretty(tool.input_schema), pretty(new.get("input_schema", {}))),
        ("annotations", pretty(tool.annotations), pretty(new.get("annotations", {}))),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def pretty(value: Any) -> str:
    """JSON for people to read."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()


def _forget_long_gone(server: McpServer) -> None:
    """Of the tools it offers no more, keep as many as it may offer, and those that somebody wants to be asked about.

    Or a server that renames its tools at each look would fill the table.
    """
    strict = [Tool.Policy.DENY, Tool.Policy.ASK]
    gone = server.tools.filter(is_listed=False).order_by("-updated_at", "-pk").values_list("pk", flat=True)
    careless = gone.exclude(Q(policy__in=strict) | Q(choices__policy__in=strict))
    if forgotten := list(careless[settings.TOOLS_PER_SERVER :]):
        # Whoever writes down a call of one, or decides about it, holds it until that is stored.
        list(Tool.objects.select_for_update().filter(pk__in=forgotten).order_by("pk").values_list("pk", flat=True))
        Tool.objects.filter(pk__in=list(careless.filter(pk__in=forgotten))).delete()


def _add(server: McpServer, name: str, tool: FoundTool, *, taken: set[str]) -> None:
    definition, problem = _definition_of(tool)
    called = _called(server.prefix, name, taken)
    taken.add(called)
    row = Tool(server=server, name=name, called=called, problem=problem)
    _pin(row, definition)
    row.save(force_insert=True)


def _compare(row: Tool, tool: FoundTool) -> None:
    definition, problem = _definition_of(tool)
    before = (row.is_listed, row.problem, row.changed)
    row.is_listed, row.problem = True, problem
    row.changed = None if _hash_of(definition) == row.pinned_hash else definition
    if before != (row.is_listed, row.problem, row.changed):
        row.updated_at = timezone.now()
        row.save(update_fields=["is_listed", "problem", "changed", "updated_at"])


def _pin(row: Tool, definition: Mapping[str, Any]) -> None:
    row.title, row.description = definition["title"], definition["description"]
    row.input_schema, row.annotations = definition["input_schema"], definition["annotations"]
    row.is_read_only = is_believed_read_only(row.name, row.annotations)
    row.pinned_hash = _hash_of(definition)
    row.updated_at = timezone.now()


def _definition_of(tool: FoundTool) -> tuple[dict[str, Any], str]:
    """What is pinned of a tool, and why it can't be offered, or ""."""
    schema, problem = _json(tool.input_schema, settings.TOOL_SCHEMA_MAX_BYTES, "Its input schema")
    annotations, _ = _json(tool.annotations, ANNOTATIONS_MAX_BYTES, "What it says of itself")
    description = tool.description
    if len(description.encode()) > settings.TOOL_DESCRIPTION_MAX_BYTES:
        problem = problem or f"Its description is longer than {settings.TOOL_DESCRIPTION_MAX_BYTES:,} bytes."
        description = description.encode()[: settings.TOOL_DESCRIPTION_MAX_BYTES].decode(errors="ignore")
    if not 0 < len(tool.name) <= NAME_MAX_LENGTH:
        problem = problem or f"Its name has not 1 to {NAME_MAX_LENGTH} characters."
    definition = {
        "title": clean_text(tool.title)[:TITLE_MAX_LENGTH],
        "description": clean_text(description),
        "input_schema": schema,
        "annotations": annotations,
    }
    return definition, problem


def _json(value: Mapping[str, Any], max_bytes: int, what: str) -> tuple[Any, str]:
    try:
        return _as_read(check_json(dict(value), field="schema", max_bytes=max_bytes)), ""
    except (Invalid, TypeError, ValueError, RecursionError):
        return {}, f"{what} is longer than {max_bytes:,} bytes, or not plain JSON."


def _as_read(value: Any) -> Any:
    """A JSON value as both databases give it back, so that its hash is the same before and after."""
    match value:
        case dict():
            return {key: _as_read(item) for key, item in value.items()}
        case list():
            return [_as_read(item) for item in value]
        case float() if abs(value) >= _EXACT_FLOATS or value == 0:
            return int(value) if value else 0.0  # and -0.0 is 0.0 there
    return value


def _hash_of(definition: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _called(prefix: str, name: str, taken: Iterable[str]) -> str:
    """A name for models: letters, digits, - and _, unlike all that are `taken`."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "tool"
    whole = f"{prefix}__{plain}"[:CALLED_MAX_LENGTH]
    if whole not in taken:
        return whole
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{whole[: CALLED_MAX_LENGTH - 9]}_{mark}"


def _notices(server: McpServer) -> list[str]:
    off = server.tools.filter(is_listed=True).exclude(problem="").count()
    return [f"{off} of its tools can't be used; the list says why."] if off else []
