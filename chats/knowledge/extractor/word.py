"""Word documents (docx), as Markdown: headings, lists and tables keep their shape."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docx import Document
from docx.table import Table
from docx.text.paragraph import Paragraph

from chats.knowledge.extractor.decoding import cleaned
from chats.knowledge.extractor.failures import Failure
from chats.knowledge.extractor.kinds import Found

NESTING_MAX = 5
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


def read(path: Path) -> Found:
    try:
        document = Document(str(path))
        blocks = [block for block in _blocks_of(document, 0) if block]
    except (MemoryError, Failure):
        raise
    except Exception as error:
        # The library and what it reads XML with have no error of their own for a file that is not as it should be.
        raise Failure("damaged") from error
    return Found("docx", cleaned("\n\n".join(blocks)))


def _blocks_of(parent: Any, depth: int) -> Iterator[str]:
    """What stands in a document or a cell, in its order. A list is one block."""
    items: list[str] = []
    for block in parent.iter_inner_content():
        text = _table(block, depth) if isinstance(block, Table) else _paragraph(block)
        if text.startswith("- "):
            items.append(text)
            continue
        if items:
            yield "\n".join(items)
            items = []
        yield text
    if items:
        yield "\n".join(items)


def _paragraph(paragraph: Paragraph) -> str:
    text = paragraph.text.strip()
    style = (paragraph.style.name if paragraph.style else "") or ""
    if not text:
        return ""
    if heading := _HEADING.match(style):
        return f"{'#' * int(heading[1])} {' '.join(text.split())}"
    if style == "Title":
        return f"# {' '.join(text.split())}"
    is_item = style.startswith("List") or paragraph._p.find(".//{*}numPr") is not None
    return f"- {text}" if is_item else text


def _table(table: Table, depth: int) -> str:
    if depth == NESTING_MAX:
        return ""
    return "\n".join(" | ".join(_cells_of(row, depth)) for row in table.rows)


def _cells_of(row: Any, depth: int) -> list[str]:
    texts: list[str] = []
    last = None
    for cell in row.cells:
        # A cell over several columns comes as often as it has columns.
        if cell._tc is not last:
            texts.append(" ".join(" ".join(_blocks_of(cell, depth + 1)).split()))
        last = cell._tc
    return texts
