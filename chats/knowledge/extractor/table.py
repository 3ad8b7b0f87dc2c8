"""Tables as text (CSV): each row says of every value what it is, so that a row alone can answer a question."""

import csv
import io
from collections.abc import Iterator

from chats.knowledge.extractor.failures import Failure
from chats.knowledge.extractor.kinds import Found

SAMPLE_CHARACTERS = 20_000
DELIMITERS = ",;\t|"
CELL_MAX_CHARACTERS = 1_000_000


def read(text: str) -> Found:
    csv.field_size_limit(CELL_MAX_CHARACTERS)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), _dialect_of(text)) if any(cell.strip() for cell in row)]
    except csv.Error:
        # A quote that never ends, or a cell without end: its lines are text all the same.
        return Found("csv", text)
    if not rows:
        raise Failure("empty")
    return Found("csv", "\n".join(_lines_of(rows)))


def _dialect_of(text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(text[:SAMPLE_CHARACTERS], delimiters=DELIMITERS)
    except csv.Error:
        return csv.excel


def _lines_of(rows: list[list[str]]) -> Iterator[str]:
    head = [_plain(cell) for cell in rows[0]]
    # A row of numbers is no head.
    if len(rows) == 1 or not all(head) or any(_is_number(cell) for cell in head):
        yield from ("; ".join(filter(None, map(_plain, row))) for row in rows)
        return
    for row in rows[1:]:
        named = [f"{name}: {value}" for name, cell in zip(head, row, strict=False) if (value := _plain(cell))]
        yield "; ".join([*named, *filter(None, map(_plain, row[len(head) :]))])


def _plain(cell: str) -> str:
    return " ".join(cell.split())


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace(",", "").replace("-", "").isdigit()
