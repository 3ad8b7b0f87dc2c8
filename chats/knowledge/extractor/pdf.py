"""PDF, page by page. Pictures are not looked at: a scan has no text."""

import logging
import re
from pathlib import Path

from pypdf import PdfReader

from chats.knowledge.extractor.bounds import Bounds
from chats.knowledge.extractor.decoding import cleaned
from chats.knowledge.extractor.failures import Failure
from chats.knowledge.extractor.kinds import Found, Progress

_HYPHENATED = re.compile(r"(?<=[a-zäöüßàâçéèêëîïôûùáíóúñ])[-\u00ad]\n(?=[a-zäöüßàâçéèêëîïôûùáíóúñ])")
_SPACES = re.compile(r"[ \t\u00a0]+")
_TRAILING = re.compile(r" +\n")
_BLANK_LINES = re.compile(r"\n{3,}")


def read(path: Path, *, bounds: Bounds, progress: Progress) -> Found:
    # It warns of each thing that is not as it should be, and there is nobody to read it.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(path, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Failure("encrypted")
        total = len(reader.pages)
    except (MemoryError, RecursionError, Failure):
        raise
    except Exception as error:
        # What is broken in the middle of a file it says by any error that comes of it.
        raise Failure("damaged") from error
    if total > bounds.max_pages:
        raise Failure("too_many_pages")
    texts, failed = [], 0
    length = 0
    for number, page in enumerate(reader.pages, 1):
        try:
            text = _tidied(page.extract_text())
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - one page that is broken must not take the others with it
            text, failed = "", failed + 1
        texts.append(text)
        length += len(text)
        if length > bounds.max_characters:
            raise Failure("too_long")
        progress(number, total)
    if failed == total:
        raise Failure("damaged")
    return _joined(texts)


def _joined(texts: list[str]) -> Found:
    starts, parts, at = [], [], 0
    for text in texts:
        starts.append(at)
        parts.append(text + "\n\n" if text else "")
        at += len(parts[-1])
    return Found("pdf", "".join(parts), starts)


def _tidied(text: str) -> str:
    text = _TRAILING.sub("\n", _SPACES.sub(" ", cleaned(text)))
    return _BLANK_LINES.sub("\n\n", _HYPHENATED.sub("", text)).strip()
