"""A long text a part at a time, with its pages named and a passage marked. No rows: the text is asked for by place.

Places are characters from 0. Parts begin at the first end of a paragraph, line or word after every 20,000th character,
wherever one comes from: earlier and later ones fit together, and nothing of what is before has to be read for it.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

PART_CHARACTERS: Final = 20_000
BREAK_CHARACTERS: Final = 500
BREAKS: Final = ("\n\n", "\n", " ")

_GAP: Final = re.compile(r"\n\s*\n")

Read = Callable[[int, int], str]  # from this character, so many


@dataclass(frozen=True)
class Passage:
    start: int
    end: int


@dataclass(frozen=True)
class Piece:
    """A piece of a paragraph. `is_first`: the one where the passage begins."""

    text: str
    is_marked: bool
    is_first: bool


@dataclass(frozen=True)
class TextPage:
    """What stands in a part of one page of the document; `number` is None where it has no pages."""

    number: int | None
    is_continued: bool
    paragraphs: list[list[Piece]]


@dataclass(frozen=True)
class Part:
    number: int
    count: int
    pages: list[TextPage]

    @property
    def earlier(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def later(self) -> int | None:
        return self.number + 1 if self.number < self.count else None

    @property
    def is_blank(self) -> bool:
        return not any(page.paragraphs for page in self.pages)


def passage_within(start: int | None, end: int | None, *, characters: int) -> Passage | None:
    """The passage that an address names, as far as there is text and no longer than a part. None: it names none."""
    if start is None or end is None or not start < min(end, characters):
        return None
    return Passage(start, min(end, characters, start + PART_CHARACTERS))


def page_at(page_starts: Sequence[int], place: int) -> int | None:
    return bisect_right(page_starts, place) or None


def part_of(
    read: Read, *, characters: int, page_starts: Sequence[int] = (), number: int = 1, passage: Passage | None = None
) -> Part:
    """The part where `passage` begins, with all of it; without one, the part of this number, or the nearest."""
    count = max(1, -(-characters // PART_CHARACTERS))
    number = passage.start // PART_CHARACTERS + 1 if passage else min(max(number, 1), count)
    text, start = _window(read, number, count, passage)
    if passage and passage.start < start:
        number -= 1
        text, start = _window(read, number, count, passage)
    return Part(number, count, list(_pages(text, start, page_starts, _trimmed(passage, text, start))))


def _window(read: Read, number: int, count: int, passage: Passage | None) -> tuple[str, int]:
    """The text of a part, and where it begins."""
    first = (number - 1) * PART_CHARACTERS
    # One more than where a break may end, or the end of what was read would pass for the end of the document.
    length = max(PART_CHARACTERS + BREAK_CHARACTERS + 1, passage.end - first if passage else 0)
    text = read(first, length)
    begin = _break(text, 0) if number > 1 else 0
    end = _break(text, PART_CHARACTERS) if number < count else len(text)
    if passage:
        end = max(end, passage.end - first)
    return text[begin:end], first + begin


def _break(text: str, place: int) -> int:
    """Where after `place` a part may begin: `place` itself where there is no good one.

    `text` goes on behind all that may be a break, or ends where the document ends: so both parts find the same.
    """
    window = text[place : place + BREAK_CHARACTERS]
    for sign in BREAKS:
        at = window.find(sign)
        # A break that ends the document would leave a part without any.
        if at >= 0 and (after := place + at + len(sign)) < len(text):
            return after
    return place


def _trimmed(passage: Passage | None, text: str, start: int) -> Passage | None:
    """The passage without the blanks it may begin with: its first mark is where it can be seen."""
    if passage is None:
        return None
    marked = text[passage.start - start : passage.end - start]
    blanks = len(marked) - len(marked.lstrip())
    return Passage(passage.start + blanks, passage.end) if blanks < len(marked) else None


def _pages(text: str, start: int, page_starts: Sequence[int], passage: Passage | None) -> Iterator[TextPage]:
    end, begins = start + len(text), set(page_starts)
    places = [start, *sorted(place for place in begins if start < place < end), end]
    for begin, stop in pairwise(places):
        paragraphs = _paragraphs(text[begin - start : stop - start], begin, passage)
        yield TextPage(page_at(page_starts, begin), begin not in begins, list(paragraphs))


def _paragraphs(text: str, start: int, passage: Passage | None) -> Iterator[list[Piece]]:
    begin = 0
    for stop, after in [*(gap.span() for gap in _GAP.finditer(text)), (len(text), len(text))]:
        if text[begin:stop].strip():
            yield list(_pieces(text[begin:stop], start + begin, passage))
        begin = after


def _pieces(text: str, start: int, passage: Passage | None) -> Iterator[Piece]:
    if passage is None:
        yield Piece(text, is_marked=False, is_first=False)
        return
    begin, stop = (min(max(place - start, 0), len(text)) for place in (passage.start, passage.end))
    is_first = start + begin == passage.start
    for piece, is_marked in ((text[:begin], False), (text[begin:stop], True), (text[stop:], False)):
        if piece:
            yield Piece(piece, is_marked, is_first=is_marked and is_first)
