"""Calls of tools as pages show them. What a model asked and what a tool answered is text, whatever it looks like."""

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.db.models import Case, F, TextField, Value, When
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone

from accounts.models import User
from chats.models import ToolCall
from chats.replies.toolbox import ASKED_EACH_TIME
from chats.tools.comparing import show_unseen
from chats.tools.content import kind_of_image

Status, Decision = ToolCall.Status, ToolCall.Decision

NOTICED_SECONDS: Final = 0.05
_ADDRESS: Final = re.compile(r"""[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+""")
_DECIDED: Final = {
    Decision.POLICY: "Nobody was asked: its policy allows it.",
    Decision.CHAT: "Nobody was asked: it is allowed in this chat.",
    Decision.ONCE: "{who} approved it once",
    Decision.FOR_CHAT: "{who} approved it, and for this chat from then on",
    Decision.ALWAYS: "{who} approved it, and always from then on",
    Decision.DENIED: "{who} denied it",
}


@dataclass(frozen=True)
class Part:
    """A piece of a result. `number` is that of an image; `host` is empty where `url` is nothing to go to."""

    kind: str
    text: str = ""
    number: int = 0
    url: str = ""
    host: str = ""


@dataclass(frozen=True)
class ShownCall:
    """One call. Its arguments are there while it waits, and all of it once it is opened."""

    call: ToolCall
    arguments: str = ""

    @property
    def title(self) -> str:
        return show_unseen(self.call.title or self.call.name)

    @property
    def name(self) -> str:
        return show_unseen(self.call.name)

    @property
    def server(self) -> str:
        return show_unseen(self.call.server_name)

    @property
    def because(self) -> str:
        """Why its person is asked; names of documents and tools are in it."""
        return show_unseen(self.call.because)

    @property
    def is_waiting(self) -> bool:
        return self.call.status == Status.WAITING

    @property
    def is_running(self) -> bool:
        return self.call.status == Status.RUNNING

    @property
    def is_bad(self) -> bool:
        return self.call.status in {Status.FAILED, Status.REFUSED, Status.UNKNOWN}

    @property
    def is_once_only(self) -> bool:
        """Whether to approve it for longer would change nothing: it is allowed, and asked for all the same."""
        return self.call.because != ASKED_EACH_TIME or self.call.tool_id is None

    @property
    def took(self) -> str:
        seconds = self.call.seconds
        return "" if seconds is None or seconds < NOTICED_SECONDS else seconds_in_words(seconds)

    @property
    def running_seconds(self) -> int:
        """For how long it has been at it, by the clock of this server."""
        began = self.call.started_at
        return max(0, int((timezone.now() - began).total_seconds())) if began else 0


@dataclass(frozen=True)
class OpenedCall(ShownCall):
    """All there is of a call, for `viewer`."""

    viewer: User | None = None

    @cached_property
    def parts(self) -> list[Part]:
        return list(_parts_of(self.call.output))

    @property
    def structured(self) -> str:
        value = self.call.output.get("structured")
        return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)

    @property
    def said(self) -> str:
        """What the model was told, where nothing else is there to see."""
        result = self.call.result_message
        return result.content if result and not self.parts and not self.structured else ""

    @property
    def is_cut(self) -> bool:
        return self.call.output.get("is_cut") is True

    @property
    def decided(self) -> str:
        """Who let it run, or did not."""
        if not self.call.decision:
            return ""
        return _DECIDED[Decision(self.call.decision)].format(who=who_decided(self.call, self.viewer))


def shown_calls(user: User, reply_ids: Collection[UUID]) -> dict[UUID, list[ShownCall]]:
    """The calls of these replies by the message that asked for them, in their order; one query.

    Of a long turn only what is seen is read: what was answered comes when a call is opened.
    """
    shown: dict[UUID, list[ShownCall]] = {}
    if reply_ids:
        asked = Case(When(status=Status.WAITING, then=F("arguments")), default=Value(""), output_field=TextField())
        calls = ToolCall.objects.visible_to(user).filter(reply__in=reply_ids, message__isnull=False)
        for call in calls.annotate(asked=asked).defer("output", "arguments").order_by("reply", "step", "index"):
            assert call.message_id is not None
            shown.setdefault(call.message_id, []).append(ShownCall(call, pretty(call.asked)))
    return shown


def shown_call(user: User, call_id: UUID) -> ShownCall:
    """One call as a chat shows it. Raises Http404 for one that is missing or foreign."""
    call = get_object_or_404(ToolCall.objects.visible_to(user).defer("output"), pk=call_id)
    return ShownCall(call, pretty(call.arguments) if call.status == Status.WAITING else "")


def opened_call(user: User, call_id: UUID) -> OpenedCall:
    """As `shown_call`, with all there is of it."""
    calls = ToolCall.objects.visible_to(user).select_related("reply__chat", "result_message", "decided_by")
    call = get_object_or_404(calls, pk=call_id)
    return OpenedCall(call, pretty(call.arguments), viewer=user)


def image_of(user: User, call_id: UUID, number: int) -> tuple[bytes, str]:
    """An image of a result, and its content type. Raises Http404 for whatever is none."""
    call = get_object_or_404(ToolCall.objects.visible_to(user).only("output"), pk=call_id)
    images = [part for part in _raw_parts(call.output) if part.get("type") == "image"]
    try:
        data = base64.b64decode(str(images[number - 1 if number else len(images)].get("data")), validate=True)
    except (IndexError, binascii.Error, ValueError):
        raise Http404 from None
    kind = kind_of_image(data)
    if not kind:
        raise Http404
    return data, kind


def who_decided(call: ToolCall, viewer: User | None) -> str:
    """«You», or a name."""
    if call.decided_by is None:
        return "Someone"
    return "You" if call.decided_by == viewer else call.decided_by.name or call.decided_by.email


def pretty(text: str) -> str:
    """Arguments as they are sent to the tool, a line for each; as they came where they are no JSON."""
    if not text.strip():
        return ""
    try:
        return show_unseen(orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode())
    except (ValueError, TypeError):  # no JSON, or nested deeper than it can be written
        return show_unseen(text)


def seconds_in_words(seconds: float) -> str:
    """«0.3 s», «12 s», «3 min 5 s»."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def _raw_parts(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = output.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _parts_of(output: Mapping[str, Any]) -> Iterator[Part]:
    structured, images = output.get("structured"), 0
    for part in _raw_parts(output):
        match part:
            # Servers say what is structured a second time as text, for clients that know no better.
            case {"type": "text", "text": str(text)} if structured is None or not _is_same(text, structured):
                yield Part("text", text=text)
            case {"type": "image"}:
                images += 1
                yield Part("image", number=images)
            case {"type": "link", "uri": str(uri)}:
                yield _link(uri, str(part.get("name") or ""))


def _is_same(text: str, value: Any) -> bool:
    # So servers wrap what is only a text.
    if value == {"result": text}:
        return True
    try:
        return bool(orjson.loads(text) == value)
    except ValueError:
        return False


def _link(uri: str, name: str) -> Part:
    try:
        parsed = urlsplit(uri)
        host = parsed.hostname or ""
    except ValueError:
        return Part("link", text=show_unseen(name or uri))
    # Browsers read an address with odd characters, or with a name before its host, in another way than it looks.
    is_plain = _ADDRESS.fullmatch(uri) and "@" not in parsed.netloc
    if parsed.scheme not in {"http", "https"} or not host or not is_plain:
        # A file, say, or an address of the server's own making: there is nothing to go to.
        return Part("link", text=show_unseen(f"{name}: {uri}" if name else uri))
    return Part("link", text=show_unseen(name or uri), url=uri, host=show_unseen(host))
