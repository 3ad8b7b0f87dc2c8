"""HTML, as Markdown: what people read of a page, without its scripts and what stands around it. Nothing is fetched."""

import re
from collections.abc import Mapping

from lxml import html
from lxml.etree import LxmlError

from chats.knowledge.extractor.decoding import cleaned
from chats.knowledge.extractor.failures import Failure
from chats.knowledge.extractor.kinds import Found

LEFT_OUT = {
    *("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "audio", "video", "head"),
    *("nav", "aside", "form", "button", "select", "dialog", "menu"),
}
# Of the page, not of an article in it.
FRAME = {"header", "footer"}
HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
BLOCKS = {
    *(
        "address",
        "article",
        "blockquote",
        "body",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
    ),
    *("figure", "footer", "header", "hr", "main", "ol", "p", "section", "summary", "table", "ul"),
}
_SPACES = re.compile(r"[ \t\n\u00a0]+")
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


def read(text: str) -> Found:
    writer = _Writer()
    # The encoding that a page names for itself is not that of this text. Without a tree of elements nothing is nested
    # too deeply.
    parser = html.HTMLParser(target=writer, encoding="utf-8", huge_tree=False, recover=True, no_network=True)
    try:
        parser.feed(text.encode("utf-8", "replace"))
        parser.close()
    except LxmlError as error:
        raise Failure("damaged") from error
    written = _BLANK_LINES.sub("\n\n", "".join(writer.out))
    lines = (line.rstrip() for line in written.splitlines())
    return Found("html", cleaned("\n".join(lines).strip()))


class _Writer:
    """Hears of elements and text in their order, and writes Markdown."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._open: list[str] = []
        self._left_out_from: int | None = None  # how many are open at the one that is left out with all in it
        self._preformatted = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        above = self._open[-1] if self._open else ""
        self._open.append(tag)
        if self._left_out_from is not None:
            return
        if _is_left_out(tag, attributes, above):
            self._left_out_from = len(self._open)
            return
        self._preformatted += tag == "pre"
        self.out.append(_start_of(tag))

    def end(self, tag: str) -> None:
        if self._left_out_from is None:
            self._preformatted -= tag == "pre"
            self.out.append(_end_of(tag))
        elif len(self._open) == self._left_out_from:
            self._left_out_from = None
        self._open.pop()

    def data(self, text: str) -> None:
        if self._left_out_from is None:
            self.out.append(text if self._preformatted else _SPACES.sub(" ", text))

    def close(self) -> None:
        """Asked for by the parser."""


def _is_left_out(tag: str, attributes: Mapping[str, str], above: str) -> bool:
    if tag in LEFT_OUT or (tag in FRAME and above in {"", "html", "body"}):
        return True
    style = attributes.get("style", "").replace(" ", "").lower()
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or "display:none" in style


def _start_of(tag: str) -> str:
    match tag:
        case "li":
            return "\n- "
        case "br" | "tr":
            return "\n"
        case "pre":
            return "\n\n```\n"
    if tag in HEADINGS:
        return f"\n\n{HEADINGS[tag]} "
    return "\n\n" if tag in BLOCKS else ""


def _end_of(tag: str) -> str:
    match tag:
        case "td" | "th":
            return " | "
        case "pre":
            return "\n```\n\n"
        case "li" | "tr":
            return ""
    return "\n\n" if tag in HEADINGS or tag in BLOCKS else ""
