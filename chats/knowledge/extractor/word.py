"""Word documents (docx), as Markdown: headings, lists and tables keep their shape.

Read is what Word shows: with what tracked changes add and without what they delete, in content controls, links and text
boxes too. A note stands behind its paragraph. Headers stand before all, footers behind all, each once.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from chats.knowledge.extractor.decoding import cleaned
from chats.knowledge.extractor.failures import Failure
from chats.knowledge.extractor.kinds import Found

NESTING_MAX = 5
HEADING_MAX = 6
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)

_PARAGRAPH, _TABLE, _ROW, _CELL = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc"))
_BOX, _ID = qn("w:txbxContent"), qn("w:id")
_TEXTS = {qn("w:t"), qn("m:t")}
_SIGNS = {
    **dict.fromkeys([qn("w:tab"), qn("w:ptab")], " "),
    **dict.fromkeys([qn("w:br"), qn("w:cr")], "\n"),
    qn("w:noBreakHyphen"): "-",
}
# Settings of a paragraph (its tab stops are tabs as well), what was deleted or moved away, and how to pronounce it.
_LEFT_OUT = {qn("w:pPr"), qn("w:del"), qn("w:moveFrom"), qn("w:rt")}
_DELETED_ROW = f"{qn('w:trPr')}/{qn('w:del')}"
_NUMBERED = f"{qn('w:pPr')}/{qn('w:numPr')}"
# The same in several ways, the best one first, for programs of different age.
_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
_NOTES = {
    RELATIONSHIP_TYPE.FOOTNOTES: (qn("w:footnote"), qn("w:footnoteReference")),
    RELATIONSHIP_TYPE.ENDNOTES: (qn("w:endnote"), qn("w:endnoteReference")),
}


def read(path: Path) -> Found:
    try:
        document = Document(str(path))
        blocks = _Writer(document).blocks()
    except (MemoryError, Failure):
        raise
    except Exception as error:
        # The library and what it reads XML with have no error of their own for a file that is not as it should be.
        raise Failure("damaged") from error
    return Found("docx", cleaned("\n\n".join(blocks)))


class _Writer:
    """Goes through the elements of a document in their order, and writes Markdown."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._style_names = {style.styleId: style.name_val or "" for style in document.styles.element.style_lst}
        self._notes = dict(_notes_of(document))

    def blocks(self) -> list[str]:
        body = list(self._blocks_of(self._document.element.body, 0))
        # Without a text of its own a letter that was scanned is no more than its letterhead.
        return [*self._frame("header"), *body, *self._frame("footer")] if body else []

    def _frame(self, name: str) -> Iterator[str]:
        """What stands above or below the pages: of all sections, but once. Numbers of pages alone are left out."""
        elements = list(_frame_elements(self._document, name))
        blocks = dict.fromkeys(block for element in elements for block in self._blocks_of(element, 0))
        return (block for block in blocks if any(character.isalpha() for character in block))

    def _blocks_of(self, parent: Any, depth: int) -> Iterator[str]:
        """What stands in a document or a cell. A list is one block."""
        return _with_joined_lists(self._parts_of(parent, depth))

    def _parts_of(self, parent: Any, depth: int) -> Iterator[str]:
        for child in _children(parent):
            if child.tag == _PARAGRAPH:
                yield from self._paragraph(child, depth)
            elif child.tag == _TABLE:
                yield self._table(child, depth)
            else:
                yield from self._parts_of(child, depth)

    def _paragraph(self, paragraph: Any, depth: int) -> Iterator[str]:
        aside: list[Any] = []
        text = "".join(self._text_of(paragraph, aside)).strip()
        yield self._as_markdown(paragraph, text) if text else ""
        for element in aside:
            yield from self._parts_of(element, depth)

    def _text_of(self, parent: Any, aside: list[Any]) -> Iterator[str]:
        """What stands in the line; boxes and notes are put `aside`."""
        for child in _children(parent):
            if child.tag in _TEXTS:
                yield child.text or ""
            elif child.tag in _SIGNS:
                yield _SIGNS[child.tag]
            elif child.tag == _BOX:
                aside.append(child)
            elif (note := self._notes.pop((child.tag, child.get(_ID)), None)) is not None:
                aside.append(note)
            else:
                yield from self._text_of(child, aside)

    def _as_markdown(self, paragraph: Any, text: str) -> str:
        style = self._style_names.get(paragraph.style, "")
        if heading := _HEADING.match(style):
            return f"{'#' * min(int(heading[1]), HEADING_MAX)} {' '.join(text.split())}"
        if style == "Title":
            return f"# {' '.join(text.split())}"
        is_item = style.startswith("List") or paragraph.find(_NUMBERED) is not None
        return f"- {text}" if is_item else text

    def _table(self, table: Any, depth: int) -> str:
        if depth == NESTING_MAX:
            return ""
        above: dict[int, str] = {}
        rows = (row for row in _nearest(table, _ROW) if row.find(_DELETED_ROW) is None)
        return "\n".join(" | ".join(self._cells_of(row, above, depth)) for row in rows)

    def _cells_of(self, row: Any, above: dict[int, str], depth: int) -> Iterator[str]:
        """The texts of the cells. One over several rows is in each of them, so that a row alone says all."""
        column = row.grid_before
        for cell in _nearest(row, _CELL):
            if cell.vMerge != "continue":
                above[column] = " ".join(" ".join(self._blocks_of(cell, depth + 1)).split())
            yield above.get(column, "")
            column += cell.grid_span


def _children(element: Any) -> Iterator[Any]:
    """The elements in this one that are read."""
    for child in element.iterchildren("*"):
        if child.tag == _ALTERNATIVES:
            yield from islice(child.iterchildren("*"), 1)
        elif child.tag not in _LEFT_OUT:
            yield child


def _nearest(parent: Any, tag: str) -> Iterator[Any]:
    """Elements of this tag, also those in a content control; but not those in one another."""
    for child in _children(parent):
        if child.tag == tag:
            yield child
        else:
            yield from _nearest(child, tag)


def _with_joined_lists(blocks: Iterable[str]) -> Iterator[str]:
    items: list[str] = []
    for block in blocks:
        if block.startswith("- "):
            items.append(block)
            continue
        if items:
            yield "\n".join(items)
            items = []
        if block:
            yield block
    if items:
        yield "\n".join(items)


def _notes_of(document: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Each foot- or endnote, by the element that refers to it and its id."""
    for relationship in document.part.rels.values():
        if relationship.reltype in _NOTES and not relationship.is_external:
            note_tag, reference_tag = _NOTES[relationship.reltype]
            for note in parse_xml(relationship.target_part.blob).iterchildren(note_tag):
                yield (reference_tag, note.get(_ID)), note


def _frame_elements(document: Any, name: str) -> Iterator[Any]:
    """Headers or footers that are shown; a section without one of its own has that of the section before."""
    for section in document.sections:
        names = [name]
        names += [f"first_page_{name}"] if section.different_first_page_header_footer else []
        names += [f"even_page_{name}"] if document.settings.odd_and_even_pages_header_footer else []
        for frame in (getattr(section, name) for name in names):
            # Programs that make one document of several leave references to what they did not take along.
            with suppress(KeyError):
                if not frame.is_linked_to_previous:
                    yield frame.part.element
