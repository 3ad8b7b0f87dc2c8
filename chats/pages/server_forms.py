"""The form of a person's server: what was typed stays when it is refused, but for secrets, which must come again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.http import QueryDict

from chats.errors import DomainError, Invalid
from chats.tools.addresses import HEADERS_MAX
from chats.tools.models import McpServer
from chats.tools.services import MASK, is_elsewhere, masked_headers

BLANK_ROWS: Final = 3
ROWS_MAX: Final = HEADERS_MAX + BLANK_ROWS


@dataclass(frozen=True)
class HeaderRow:
    """`is_set`: a value is stored, and blank keeps it. `is_lost`: one was typed, and must be typed again."""

    name: str = ""
    value: str = field(default="", repr=False)
    is_set: bool = False
    is_removed: bool = False
    is_lost: bool = False

    @property
    def is_blank(self) -> bool:
        return not (self.name or self.value or self.is_set)


@dataclass
class ServerForm:
    name: str = ""
    url: str = ""
    enabled: bool = True
    rows: list[HeaderRow] = field(default_factory=list)
    is_elsewhere: bool = False  # the address is on another host than the stored one
    errors: dict[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """As the verbs take them. Raises Invalid when the headers can't be told apart, or a value is missing."""
        headers: dict[str, str] = {}
        for row in self.rows:
            if row.is_blank or row.is_removed:
                continue
            if row.name.lower() in {name.lower() for name in headers}:
                raise _invalid(f"«{row.name[:40]}» is there twice.")
            if not row.value and not row.is_set:
                raise _invalid(f"Enter a value for {row.name[:40]}, or leave it out.")
            headers[row.name] = row.value or MASK
        return {"name": self.name, "url": self.url, "headers": headers, "enabled": self.enabled}

    def refuse(self, error: DomainError) -> None:
        """Say what was refused, where it is to be corrected; what is about no field stands above all."""
        self.errors = {name: " ".join(sentences) for name, sentences in error.fields.items()} or {"": error.message}
        self.rows = [
            HeaderRow(row.name, is_set=row.is_set, is_removed=row.is_removed, is_lost=bool(row.value) or row.is_lost)
            for row in self.rows
        ]

    @property
    def shown_rows(self) -> list[HeaderRow]:
        """Those that are filled in, and some to fill in."""
        filled = [row for row in self.rows if not row.is_blank]
        return filled + [HeaderRow()] * min(BLANK_ROWS, max(0, HEADERS_MAX - len(filled)))


def form_of(server: McpServer) -> ServerForm:
    rows = [HeaderRow(name, is_set=True) for name in masked_headers(server)]
    return ServerForm(name=server.name, url=server.url, enabled=server.enabled, rows=rows)


def form_sent(sent: QueryDict, server: McpServer | None = None) -> ServerForm:
    """What was filled in; of `server`, when it is there already."""
    stored = masked_headers(server) if server else {}
    form = ServerForm(sent.get("name", ""), sent.get("url", ""), "enabled" in sent, _rows(sent, stored))
    form.is_elsewhere = server is not None and is_elsewhere(server, form.url)
    return form


def _rows(sent: QueryDict, stored: Mapping[str, str]) -> list[HeaderRow]:
    names, values = sent.getlist("header_name")[:ROWS_MAX], sent.getlist("header_value")[:ROWS_MAX]
    removed, lost = set(sent.getlist("header_removed")), set(sent.getlist("header_lost"))
    rows = []
    for place, (name, value) in enumerate(zip(names, values, strict=False)):
        is_lost = str(place) in lost
        # Who typed another value and has to type it again must not keep the old one by leaving it blank.
        is_set = name.strip() in stored and not is_lost
        rows.append(HeaderRow(name.strip(), value.strip(), is_set, str(place) in removed, is_lost and not value))
    return rows


def _invalid(message: str) -> Invalid:
    return Invalid(fields={"headers": [message]})
