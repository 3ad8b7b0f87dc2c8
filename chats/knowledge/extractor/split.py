"""A text in chunks, along its structure: what belongs together stays together, and no character is lost."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from chats.knowledge.extractor.headings import Outline
from chats.knowledge.extractor.kinds import Found

# Characters. Tried on the golden documents: smaller ones miss half of an answer, larger ones drown it.
SIZE = (400, 800)
# The splitter takes time by the square of what has no structure: 65 s for 2 million letters, 0.4 s in pieces of this.
PIECE_CHARACTERS = 10_000
MARKED = {"markdown", "html", "docx", "pdf"}
TITLED = {"markdown", "html", "docx"}

_LINE = re.compile(r"[^\n]+")


@dataclass(frozen=True)
class Chunk:
    """`start` and `end` count characters of the text, `page` counts from 1."""

    index: int
    start: int
    end: int
    page: int | None
    heading: str


def chunks_of(found: Found) -> Iterator[Chunk]:
    """The chunks of a text in their order. What is in none of them is blank."""
    spans = _rows_of(found.text) if found.kind == "csv" else _parts_of(found.text, is_marked=found.kind in MARKED)
    outline = Outline(found.text) if found.kind in TITLED else None
    for index, (start, end) in enumerate(spans):
        page = bisect_right(found.page_starts, start) if found.page_starts else None
        yield Chunk(index, start, end, page, outline.path_at(start) if outline else "")


def _parts_of(text: str, *, is_marked: bool) -> Iterator[tuple[int, int]]:
    splitter = MarkdownSplitter(SIZE) if is_marked else TextSplitter(SIZE)
    for first, last in _pieces_of(text):
        for at, part in splitter.chunk_indices(text[first:last]):
            if part.strip():
                yield first + at, first + at + len(part)


def _pieces_of(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = _cut(text, start)
        yield start, end
        start = end
    yield start, len(text)


def _cut(text: str, start: int) -> int:
    """Where to divide in the second half of a piece: before a heading, a paragraph, a line, a word."""
    for mark in ("\n#", "\n\n", "\n", " "):
        at = text.rfind(mark, start + PIECE_CHARACTERS // 2, start + PIECE_CHARACTERS)
        if at >= 0:
            return at + 1
    return start + PIECE_CHARACTERS


def _rows_of(text: str) -> Iterator[tuple[int, int]]:
    """Rows of a table, a few together; one that is too long is cut."""
    start = end = 0
    for line in _LINE.finditer(text):
        if end > start and line.end() - start > SIZE[0]:
            yield start, end
            start = line.start()
        if end <= start:
            start = line.start()
        end = line.end()
        while end - start > SIZE[1]:
            yield start, start + SIZE[1]
            start += SIZE[1]
    if end > start:
        yield start, end
