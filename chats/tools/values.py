"""What goes to a server of tools and what comes back, without a row and without the wire."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chats.tools.addresses import origin_text

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

    @property
    def origin(self) -> str:
        """To whom what it is shown may be shown."""
        return origin_text(self.url)

    @property
    def has_authorization(self) -> bool:
        """Whether its person has entered what it is shown."""
        return any(name.lower() == "authorization" for name in self.headers)

    def signed_with(self, token: str) -> "Endpoint":
        """The same, shown this token."""
        headers = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        return replace(self, headers={**headers, "Authorization": f"Bearer {token}"})


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

    `is_own`: these words are Parley's, and nobody else's. Each of `parts` is {"type": "text", "text"},
    {"type": "image", "mime_type", "data"} with base64, or {"type": "link", "uri", "name"}; `structured` is the JSON
    value beside them, or None.
    """

    text: str
    is_error: bool = False
    parts: Sequence[Mapping[str, Any]] = ()
    structured: Any = None
    is_cut: bool = False
    is_own: bool = False
