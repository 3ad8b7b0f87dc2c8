"""What of a Markdown text is code, and what is prose: a number in brackets is a marker only in prose. Pure, no Django.

It reads as CommonMark does, as far as that matters here, and each sign a fixed number of times: fences of backquotes or
tildes, indented code, spans of backquotes that end with their paragraph at the latest, in lists and quotes too. It does
not know the cells of tables, quotes in list items, empty items, and what a backquote is in an address.
"""

import re
from collections import defaultdict, deque
from enum import Enum

_BACKQUOTES = re.compile("`+")
_QUOTE = re.compile(r"(?: {0,3}> ?)+")
_ITEM = re.compile(r"( *)(?:[-*+]|(\d{1,9})[.)])(?: |$)")
# What follows an opening fence of backquotes on its line has none.
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_HEADING = re.compile(r"#{1,6}(?: |$)")
_SIGNS_OF_CODE = ("`", "~~~", "    ", "\t")
_BLANKS = " \t\r\n"


class Kind(Enum):
    """What a line is: of prose, whether it begins a paragraph or goes on with one."""

    CODE = "code"
    BREAK = "break"
    START = "start"
    MORE = "more"


class Lines:
    """Tells what each line of a text is, in their order. A copy of it can look ahead."""

    def __init__(self) -> None:
        self._fence = ""
        self._is_quoted = False
        self._is_open = False  # a paragraph, which the next line may go on with
        # Where the text of the list items begins that we are in, outer ones first; and the same outside the quote.
        self._items: tuple[int, ...] = ()
        self._outer_items: tuple[int, ...] = ()

    def read(self, line: str) -> Kind:
        line = line.expandtabs(4)
        quote = _QUOTE.match(line)
        if self._fence and self._is_in_fence(line, quote):
            return Kind.CODE
        self._enter_or_leave_quote(is_quoted=quote is not None)
        return self._read_block(line[quote.end() :] if quote else line)

    def _is_in_fence(self, line: str, quote: re.Match[str] | None) -> bool:
        """Whether the fence holds `line`, perhaps as its last. It ends with the quote or the item it is in, too."""
        if self._is_quoted:
            line = line[quote.end() :] if quote else ""
        text = line.strip(_BLANKS)
        depth = _indent_of(line) - self._base
        if (self._is_quoted and not quote) or (text and depth < 0):
            self._fence = ""
            return False
        if text.startswith(self._fence) and not text.strip(self._fence[0]) and depth < 4:
            self._fence = ""
        return True

    @property
    def _base(self) -> int:
        return self._items[-1] if self._items else 0

    def _enter_or_leave_quote(self, *, is_quoted: bool) -> None:
        if is_quoted == self._is_quoted:
            return
        self._is_quoted = is_quoted
        if is_quoted:
            # Only out of a quote a paragraph goes on without its sign.
            self._outer_items, self._items, self._is_open = self._items, (), False
        else:
            self._items = self._outer_items

    def _read_block(self, line: str) -> Kind:
        text = line.strip(_BLANKS)
        if not text:
            self._is_open = False
            return Kind.BREAK
        item, indent = self._item_in(line), _indent_of(line)
        if not self._is_open or item or _FENCE.match(text):
            while self._items and indent < self._base:
                self._items = self._items[:-1]
        if indent - self._base >= 4:
            return Kind.MORE if self._is_open else Kind.CODE
        if _is_rule(text, is_below_text=self._is_open):
            self._is_open = False
            return Kind.BREAK
        if item:
            self._is_open = False
            return self._read_item(line, item)
        return self._read_text(text)

    def _item_in(self, line: str) -> re.Match[str] | None:
        item = _ITEM.match(line)
        if item and self._is_open and not self._items and (item[2] or "1") != "1":
            return None  # «1986. It was» in the middle of a paragraph
        return item

    def _read_item(self, line: str, item: re.Match[str]) -> Kind:
        rest = line[item.end() :]
        blanks = _indent_of(rest)
        if blanks >= 4 and rest.strip(_BLANKS):
            # Indented code right behind the sign of the item.
            self._items += (item.end(),)
            return Kind.CODE
        self._items += (item.end() + (blanks if rest.strip(_BLANKS) else 0),)
        inner = self._items[-1]
        while (deeper := _ITEM.match(line, inner)) and len(self._items) < 50:
            inner = deeper.end()
            self._items += (inner,)
        text = line[inner:].strip(_BLANKS)
        kind = self._read_text(text) if text else Kind.START
        return Kind.START if kind is Kind.MORE else kind

    def _read_text(self, text: str) -> Kind:
        if fence := _FENCE.match(text):
            self._fence, self._is_open = fence[1] or fence[2], False
            return Kind.CODE
        if _HEADING.match(text):
            self._is_open = False
            return Kind.START
        # Each row of a table is a paragraph of its own.
        was_open, self._is_open = self._is_open and not text.startswith("|"), True
        return Kind.MORE if was_open else Kind.START


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_rule(text: str, *, is_below_text: bool) -> bool:
    """Whether a line is a rule, or makes the text above it a heading."""
    sign = text[0]
    if sign not in "-*_=" or text.strip(f"{sign} "):
        return False
    return len(text.replace(" ", "")) >= 3 if sign in "*_" or not is_below_text else " " not in text or len(text) > 4


def code_spans(paragraph: str) -> list[tuple[int, int]]:
    """Where code begins and ends in the text of one paragraph, with its backquotes; a lone one opens nothing."""
    runs = [found.span() for found in _BACKQUOTES.finditer(paragraph)]
    closers: dict[int, deque[int]] = defaultdict(deque)
    for index, (start, end) in enumerate(runs):
        closers[end - start].append(index)
    spans, index, before = [], 0, 0
    while index < len(runs):
        start, end = runs[index]
        start += is_escaped(paragraph[before:start])
        same = closers.get(end - start, ())
        while same and same[0] <= index:
            same.popleft()
        if same:
            index = same[0]
            spans.append((start, runs[index][1]))
        before = runs[index][1]
        index += 1
    return spans


def is_escaped(before: str) -> bool:
    """Whether the sign after `before` stands for itself."""
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def without_code(text: str) -> str:
    """`text` without what stands in code. Lines of code are empty ones in it."""
    if not any(sign in text for sign in _SIGNS_OF_CODE):
        return text
    lines, blocks, paragraph = Lines(), list[str](), list[str]()
    for line in text.split("\n"):
        kind = lines.read(line)
        if kind is not Kind.MORE and paragraph:
            blocks.append(_without_spans("\n".join(paragraph)))
            paragraph = []
        if kind is Kind.CODE:
            blocks.append("")
        else:
            paragraph.append(line)
    return "\n".join([*blocks, _without_spans("\n".join(paragraph))])


def _without_spans(paragraph: str) -> str:
    if "`" not in paragraph:
        return paragraph
    kept, end = [], 0
    for start, stop in code_spans(paragraph):
        kept.append(paragraph[end:start])
        end = stop
    return "".join([*kept, paragraph[end:]])
