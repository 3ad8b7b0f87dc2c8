"""The sources of an answer as pages show them: markers in the text become links, each to its passage in the document.

Sources may come from a program through the API, in whatever shape it has them: what is no passage of a document is
named and leads nowhere.
"""

import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chats.knowledge.support import LAST_WORD_WITHIN, Citation, citations_of, last_word
from chats.llm.passages import MARKER, cited_in, numbers_in
from chats.models import Message

EXCERPT_CHARACTERS: Final = 240
NAME_MAX_CHARACTERS: Final = 200

_TAG: Final = re.compile(r"(<[^>]*>)")
# In these a number in brackets is what it is; and of code no word counts.
_CLOSED: Final = re.compile(r"<(/?)(?:code|pre|(a))\b", re.IGNORECASE)


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
    return _Linker(sources, citations_of(content, [source.text for source in sources])).write(html) if sources else html


class _Linker:
    """Finds in HTML the markers that were found in the text it was made of.

    They come in the same order, but there may be fewer or more: each is known by its numbers and the word before it, so
    that one which is missing shifts no doubt to another.
    """

    def __init__(self, sources: Sequence[Source], citations: Sequence[Citation]) -> None:
        self._links_to = {source.number: _link(source) for source in sources}
        self._checks: dict[tuple[tuple[int, ...], str], deque[Citation]] = defaultdict(deque)
        for citation in citations:
            self._checks[citation.numbers, citation.place].append(citation)
        self._place = ""

    def write(self, html: SafeString) -> SafeString:
        codes = links = 0
        out = []
        for piece in _TAG.split(html):
            if not piece.startswith("<"):
                out.append(piece if codes else self._with_links(piece, is_link=links > 0))
                continue
            if tag := _CLOSED.match(piece):
                step = -1 if tag[1] else 1
                codes, links = (codes, links + step) if tag[2] else (codes + step, links)
            out.append(piece)
        return SafeString("".join(out))

    def _with_links(self, text: str, *, is_link: bool) -> str:
        out, end = [], 0
        for marker in MARKER.finditer(text):
            # The blank before a marker belongs to the text.
            start = marker.start() + marker[0].index("[")
            self._pass(text[end:start])
            links = self._links(numbers_in(marker))
            out += [text[end:start], text[start : marker.end()] if is_link or links is None else links]
            end = marker.end()
        self._pass(text[end:])
        return "".join([*out, text[end:]])

    def _pass(self, text: str) -> None:
        self._place = last_word(unescape(text[-LAST_WORD_WITHIN:])) or self._place

    def _links(self, numbers: tuple[int, ...]) -> str | None:
        """None where one of them is no source's."""
        checks = self._checks.get((numbers, self._place))
        check = checks.popleft() if checks else None
        if any(number not in self._links_to for number in numbers):
            return None
        return "".join(self._links_to[number] for number in numbers) + _doubt(check)


def _doubt(check: Citation | None) -> str:
    """A sign behind what its source does not seem to say."""
    return "" if check is None or check.is_supported else _sign_of_doubt(check.missing)


@lru_cache(1_000)
def _sign_of_doubt(missing_words: tuple[str, ...]) -> str:
    missing = f" Not there: {', '.join(missing_words)}." if missing_words else ""
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
