"""The tools a model is offered in one run, and what becomes of each call that it asks for."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db.models import Exists, F, OuterRef, QuerySet

from accounts.models import User
from accounts.queries import Prepared
from chats.cleaning import JSON_MAX_DEPTH, is_deep
from chats.knowledge.models import Document
from chats.models import ToolCall, ToolGrant
from chats.replies.lease import Job
from chats.tools.builtin import SEARCH
from chats.tools.models import McpServer, Tool, ToolChoice

Status, Decision = ToolCall.Status, ToolCall.Decision

ASKED_EACH_TIME = "You are asked each time this tool is called."
ASKED_AFTER = "You are asked each time this tool is called, and {taint}."
WITHDRAWN = "This tool is denied, changed or gone by now. The call was not carried out."
NO_OBJECT = (
    f"The arguments are not a JSON object of at most {JSON_MAX_DEPTH} levels, with whole numbers of at most 64 bits."
    " Send them again as one."
)
NAME_SHOWN = 100
_LONG_NUMBER = re.compile(r"\d{19}")
ID_MAX_CHARACTERS = 64


@dataclass(frozen=True)
class Toolbox:
    """Tools by the names they are offered under; `granted` need no word of their person in this chat."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    granted: Collection[UUID] = ()

    @property
    def specs(self) -> list[dict[str, Any]]:
        """As providers are told of them."""
        return [_spec_of(name, tool) for name, tool in self.tools.items()]

    def judge(self, call: ToolCall, *, taint: str) -> str:
        """Set what is known of a call that was asked for, and its status. Returns why it is refused, or ""."""
        if call.index >= settings.TOOL_CALLS_PER_STEP:
            return _refuse(call, f"At most {settings.TOOL_CALLS_PER_STEP} calls can be asked for at once.")
        tool = self.tools.get(call.name)
        if tool is None:
            return _refuse(call, "There is no tool of this name. Use only the tools that you were offered.")
        call.tool, call.title, call.server_name = tool, str(tool)[:200], tool.server.name
        call.is_read_only, call.pinned_hash = tool.is_read_only, tool.pinned_hash
        if len(call.arguments.encode()) > settings.TOOL_ARGUMENTS_MAX_BYTES:
            return _refuse(call, f"The arguments have more than {settings.TOOL_ARGUMENTS_MAX_BYTES:,} bytes.")
        arguments = arguments_of(call)
        if arguments is None:
            return _refuse(call, NO_OBJECT)
        if missing := _missing(tool, arguments):
            return _refuse(call, f"The argument «{missing}» is missing. Send the call again with it.")
        self._decide(call, tool, taint=taint)
        return ""

    def _decide(self, call: ToolCall, tool: Tool, *, taint: str) -> None:
        is_allowed = tool.policy_chosen == Tool.Policy.ALLOW
        # Whatever is allowed, what changes something may not be what its person has asked for.
        is_tainted = bool(taint) and not tool.is_read_only
        if not (is_allowed or tool.pk in self.granted):
            call.status = Status.WAITING
            call.because = ASKED_AFTER.format(taint=taint)[:300] if is_tainted else ASKED_EACH_TIME
        elif is_tainted:
            call.status, call.because = Status.WAITING, f"You allowed this tool, but {taint}."[:300]
        else:
            call.status, call.decision = Status.READY, Decision.POLICY if is_allowed else Decision.CHAT


def may_run(user_id: UUID, call: ToolCall) -> bool:
    """Whether a call may begin as things stand now: its tool is what it was, and nobody has taken back their word."""
    if call.tool_id is None:
        return False
    tool = _usable(user_id).filter(pk=call.tool_id).first()
    if tool is None or call.pinned_hash not in {"", tool.pinned_hash}:
        return False
    # What ran by its policy runs by that of now; what was approved needs only that it is not denied.
    allowed = {Tool.Policy.ALLOW} if call.decision == Decision.POLICY else {Tool.Policy.ALLOW, Tool.Policy.ASK}
    return tool.policy_chosen in allowed


def toolbox_for(job: Job) -> Toolbox:
    """What the person of a reply lets its model use, as things stand now."""
    if job.model is None or not job.model.supports_tools:
        return Toolbox()
    user, chat = job.reply.user, job.reply.chat
    wanted = None if chat.tools is None else set(_ids(chat.tools.get("servers")))
    offered = [
        tool
        for tool in _USABLE.all(user.pk)
        if tool.policy_chosen != Tool.Policy.DENY
        and (wanted is None or tool.server_id in wanted)
        and _is_of_use(tool, user)
    ]
    is_any_asked_about = any(tool.policy_chosen == Tool.Policy.ASK for tool in offered)
    # One that was given before the tool became what it is now is not for this one; and the last word holds.
    later = ToolChoice.objects.filter(user=user, tool=OuterRef("tool"), updated_at__gt=OuterRef("created_at"))
    grants = ToolGrant.objects.filter(~Exists(later), chat=chat, created_at__gte=F("tool__updated_at"))
    granted = set(grants.values_list("tool", flat=True)) if is_any_asked_about else set()
    return Toolbox(_by_name(offered[: settings.TOOLS_OFFERED_MAX]), granted)


def _usable(user_id: UUID) -> QuerySet[Tool]:
    user = User(pk=user_id)
    tools = Tool.objects.visible_to(user).usable().with_choice_of(user).select_related("server")
    # Their secrets are not needed here.
    tools = tools.defer("server__headers", "server__environment")
    return tools.order_by("server__created_at", "server", "name")


_USABLE = Prepared(_usable)
_DOCUMENT = Prepared(lambda user_id: Document.objects.visible_to(User(pk=user_id)).order_by().only("pk")[:1])


def calls_of(asked: Sequence[Mapping[str, Any]], *, step: int) -> list[ToolCall]:
    """Calls as a model has asked for them, not judged yet. Their ids are unique in the step."""
    calls: list[ToolCall] = []
    taken: set[str] = set()
    for index, entry in enumerate(asked):
        function = entry["function"]
        call_id = str(entry["id"])[:ID_MAX_CHARACTERS]
        if not call_id or call_id in taken:
            # Nine letters and digits, as the strictest of the providers wants them.
            call_id = f"call{step:02d}{index:03d}"
        taken.add(call_id)
        name, arguments = str(function["name"])[:256], str(function["arguments"])
        calls.append(ToolCall(step=step, index=index, call_id=call_id, name=name, arguments=arguments))
    return calls


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """The arguments of a call, {} for none; None when they are no JSON object, or a deeper one than can be shown."""
    try:
        value = orjson.loads(call.arguments) if call.arguments.strip() else {}
        if not isinstance(value, dict) or is_deep(value):
            return None
        # Numbers that are too long would arrive as others than were written.
        if _LONG_NUMBER.search(call.arguments):
            json.loads(call.arguments, parse_int=_whole)
    except ValueError:
        return None
    return value


def _whole(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError("more than 64 bits")
    return number


def _missing(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """The first argument that a tool can't do without, and does not get."""
    required = tool.input_schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return next((name[:NAME_SHOWN] for name in names if name not in arguments), "")


def _refuse(call: ToolCall, why: str) -> str:
    call.status = Status.REFUSED
    return why


def _is_of_use(tool: Tool, user: User) -> bool:
    is_search = tool.server.transport == McpServer.Transport.BUILTIN and tool.name == SEARCH
    return not is_search or _DOCUMENT.first(user.pk) is not None


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    """An operator's server and a person's own may begin alike; the later one gets a number."""
    named: dict[str, Tool] = {}
    for tool in tools:
        name, number = tool.called, 1
        while name in named:
            number += 1
            name = f"{tool.called[: 63 - len(str(number))]}_{number}"
        named[name] = tool
    return named


def _spec_of(name: str, tool: Tool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}, **tool.input_schema}
    function = {"name": name, "description": tool.description or str(tool), "parameters": schema}
    return {"type": "function", "function": function}


def _ids(value: Any) -> list[UUID]:
    ids = []
    for text in value if isinstance(value, list) else []:
        try:
            ids.append(UUID(str(text)))
        except ValueError:
            continue
    return ids
