"""What goes to a server of tools and what comes back, without a row and without the wire."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Called with what is done, of how much if that is known, and the server's words.
OnProgress = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and what it is shown. Either `url` or `command`.

    `is_trusted`: the operator has chosen the address, so it may be on this machine or network.
    """

    name: str
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: str = ""
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_trusted: bool = False
    directory: str = ""  # where a program is started; its data directory where none is named
    is_old: bool = False  # it is known to speak the protocol that begins with `initialize`


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool as its server describes it."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    annotations: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a server offers. `notices` say what of it was left out."""

    tools: Sequence[FoundTool]
    about: Mapping[str, Any]  # name, version, protocol; "" where it does not say
    notices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call has come to. `text` is for the model; `parts` are all that is shown to people.

    Each of `parts` is {"type": "text", "text"}, {"type": "image", "mime_type", "data"} with base64, or
    {"type": "link", "uri", "name"}; `structured` is the JSON value beside them, or None.
    """

    text: str
    is_error: bool = False
    parts: Sequence[Mapping[str, Any]] = ()
    structured: Any = None
    is_cut: bool = False
