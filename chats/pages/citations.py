"""The sources of an answer as pages show them: markers in the text become links, each to its passage in the document.

Sources may come from a program through the API, in whatever shape it has them: what is no passage of a document is
named and leads nowhere.
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chats.knowledge.support import Citation, citations_of
from chats.llm.passages import cited_in, numbers_in
from chats.models import Message

EXCERPT_CHARACTERS: Final = 240
NAME_MAX_CHARACTERS: Final = 200

_TAG: Final = re.compile(r"(<[^>]*>)")
_MARKER: Final = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
# In these a number in brackets is what it is.
_CLOSED: Final = re.compile(r"<(/?)(?:code|pre|a)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A passage that an answer was given. `url` leads to it in its document; "" where there is none to go to."""

    number: int
    name: str
    page: int | None
    text: str
    excerpt: str
    url: str
    is_cited: bool

    @property
    def label(self) -> str:
        return f"{self.name}, page {self.page}" if self.page else self.name


def sources_of(message: Message) -> list[Source]:
    """Those of a message, numbered from 1 as its markers count them."""
    if not message.sources:
        return []
    cited = cited_in(message.content)
    return [_source(number, raw, number in cited) for number, raw in enumerate(message.sources, 1)]


def linked(html: SafeString, sources: Sequence[Source], *, content: str) -> SafeString:
    """`content` as HTML, each marker of a source a link to it. It has been cleaned: every tag in it is whole."""
    if not sources:
        return html
    by_number = {source.number: source for source in sources}
    # In the order of the text, as the markers come here.
    checks = deque(citations_of(content, [source.text for source in sources]))
    depth, out = 0, []
    for piece in _TAG.split(html):
        if piece.startswith("<"):
            if tag := _CLOSED.match(piece):
                depth += -1 if tag[1] else 1
            out.append(piece)
        else:
            out.append(piece if depth else _MARKER.sub(lambda marker: _links(marker, by_number, checks), piece))
    return SafeString("".join(out))


def _links(marker: re.Match[str], sources: Mapping[int, Source], checks: deque[Citation]) -> str:
    numbers = numbers_in(marker)
    while checks and checks[0].numbers != numbers:
        checks.popleft()
    check = checks.popleft() if checks else None
    if any(number not in sources for number in numbers):
        return marker[0]
    return "".join(_link(sources[number]) for number in numbers) + _doubt(check)


def _doubt(check: Citation | None) -> str:
    """A sign behind what its source does not seem to say."""
    if check is None or check.is_supported:
        return ""
    missing = f" Not there: {', '.join(check.missing)}." if check.missing else ""
    words = f"The source does not seem to say this.{missing}"
    return format_html(
        '<span class="doubt" title="{}"><span aria-hidden="true">?</span>'
        '<span class="visually-hidden">({})</span></span>',
        words,
        words,
    )


def _link(source: Source) -> str:
    """As `citation` in `markdown.js` makes it."""
    if not source.url:
        return format_html('<span class="citation" title="{}">{}</span>', source.label, source.number)
    return format_html(
        '<a class="citation" href="{}" aria-label="Source {}: {}" title="{}">{}</a>',
        source.url,
        source.number,
        source.label,
        source.label,
        source.number,
    )


def _source(number: int, raw: Any, is_cited: bool) -> Source:
    raw = raw if isinstance(raw, dict) else {}
    name, page, text = (raw.get(key) for key in ("name", "page", "text"))
    return Source(
        number=number,
        name=name[:NAME_MAX_CHARACTERS] if name and isinstance(name, str) else f"Source {number}",
        page=page if isinstance(page, int) and not isinstance(page, bool) else None,
        text=text if isinstance(text, str) else "",
        excerpt=" ".join(text[: 2 * EXCERPT_CHARACTERS].split())[:EXCERPT_CHARACTERS] if isinstance(text, str) else "",
        url=_url_of(raw),
        is_cited=is_cited,
    )


def _url_of(raw: Mapping[str, Any]) -> str:
    try:
        document = UUID(str(raw.get("document")))
    except ValueError:
        return ""
    place = {"version": raw.get("version_number"), "start": raw.get("start"), "end": raw.get("end")}
    if not all(type(value) is int and value >= 0 for value in place.values()):
        return ""
    return f"{reverse('pages:document', args=[document])}?{urlencode(place)}#passage"
