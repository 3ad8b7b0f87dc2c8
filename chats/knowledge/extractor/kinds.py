"""What a file is, by what is in it. Its name only tells kinds of text from each other."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from chats.knowledge.extractor.bounds import Bounds
from chats.knowledge.extractor.decoding import decoded
from chats.knowledge.extractor.failures import Failure, unsupported
from chats.knowledge.extractor.signatures import refuse_if_known

SNIFFED_BYTES = 1_024
# A few bytes may unpack to much more than a hundred times as many, and do no harm.
SMALL_BYTES = 10_000
MARKDOWN = {".md", ".markdown", ".mdown", ".mkd", ".rst", ".adoc"}
TABLES = {".csv", ".tsv"}
PAGES = {".html", ".htm", ".xhtml"}
CODE = {
    *(".bash", ".c", ".cc", ".clj", ".conf", ".cpp", ".cs", ".css", ".dart", ".ex", ".exs", ".go", ".h", ".hpp"),
    *(".hs", ".ini", ".java", ".jl", ".js", ".json", ".jsonl", ".jsx", ".kt", ".lua", ".m", ".php", ".pl"),
    *(".ps1", ".py", ".r", ".rb", ".rs", ".scala", ".scss", ".sh", ".sql", ".swift", ".tf", ".toml", ".ts"),
    *(".tsx", ".vue", ".xml", ".yaml", ".yml", ".zig"),
}
_HTML_STARTS = ("<!doctype html", "<html")
_PDF = b"%PDF-"
# Blanks and a byte order mark.
_BEFORE_PDF = b" \t\r\n\x0c\x00\xef\xbb\xbf"
_PDF_OBJECT = re.compile(rb"\d\s+\d+\s+obj\b")


@dataclass(frozen=True)
class Found:
    """The text of a file. `page_starts` are places in it, in characters; none where the file has no pages."""

    kind: str
    text: str
    page_starts: list[int] = field(default_factory=list)


Progress = Callable[[int, int], None]


def read(path: Path, *, name: str, bounds: Bounds, progress: Progress) -> Found:
    """Raises Failure, MemoryError, and whatever a library says of a file that is broken."""
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    if not start:
        raise Failure("empty")
    suffix = PurePath(name).suffix.lower()
    if _PDF in start and _is_pdf(path.read_bytes()):
        return _read_pdf(path, suffix, bounds, progress)
    if start.startswith(b"PK\x03\x04"):
        return _read_packed(path, bounds)
    return _read_text(path, suffix)


def _is_pdf(raw: bytes) -> bool:
    """Whether a file that has the mark of one near its beginning may be one: a text that mentions it is none."""
    if raw.lstrip(_BEFORE_PDF).startswith(_PDF) or raw.rstrip(_BEFORE_PDF).endswith(b"%%EOF"):
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        # Its second line is a comment of four bytes that are no UTF-8, so that it is not taken for text.
        return True
    return False


def _read_pdf(path: Path, suffix: str, bounds: Bounds, progress: Progress) -> Found:
    from chats.knowledge.extractor import pdf  # noqa: PLC0415 - one file needs one of them

    try:
        return pdf.read(path, bounds=bounds, progress=progress)
    except Failure as failure:
        # A note may begin with the mark. What has objects as well is a PDF, and the source of one nobody wants to read.
        if failure.code != "damaged" or _PDF_OBJECT.search(path.read_bytes()):
            raise
        try:
            return _read_text(path, suffix)
        except Failure:
            raise failure from None


def _read_packed(path: Path, bounds: Bounds) -> Found:
    """A Word document, which is a zip archive; of others nothing is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Failure("damaged") from error
    if not any(entry.filename == "word/document.xml" for entry in entries):
        raise unsupported("an archive or a document of another program", "Upload the text in it as PDF, docx or CSV.")
    size, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    most = min(bounds.expanded_max_bytes, bounds.expanded_max_ratio * max(packed, SMALL_BYTES))
    if size > most or len(entries) > bounds.expanded_max_entries:
        raise Failure("too_large_when_opened")
    from chats.knowledge.extractor import word  # noqa: PLC0415

    return word.read(path)


def _read_text(path: Path, suffix: str) -> Found:
    raw = path.read_bytes()
    try:
        text = decoded(raw)
    except Failure:
        refuse_if_known(raw, is_text=False)
        raise
    refuse_if_known(raw, is_text=True)
    is_page = text[:1_000].lstrip().lower().startswith(_HTML_STARTS)
    if is_page or suffix in PAGES:
        from chats.knowledge.extractor import page  # noqa: PLC0415

        return page.read(text)
    if suffix in TABLES:
        from chats.knowledge.extractor import table  # noqa: PLC0415

        return table.read(text)
    kind = "markdown" if suffix in MARKDOWN else "code" if suffix in CODE else "text"
    return Found(kind, text)
