"""`python -m chats.knowledge.extractor`, with a job on standard input: JSON with path, name, folder and bounds.

Writes `text.txt` and `chunks.jsonl` into the folder, and lines of JSON to standard output: how far it is, and last how
it ended.
"""

import errno
import json
import sys
import time
from pathlib import Path
from typing import Any

from chats.knowledge.extractor.bounds import Bounds
from chats.knowledge.extractor.failures import MESSAGES, Failure

PROGRESS_SECONDS = 0.2
# Of an exception nothing is told to people; but an end without memory has many faces.
_CODES = {errno.ENOMEM: "out_of_memory", errno.ENOSPC: "no_room", errno.EDQUOT: "no_room"}


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    bounds = Bounds(**job["bounds"])
    bounds.hold(parent=job["parent"])
    try:
        say(extract(Path(job["path"]), job["name"], Path(job["folder"]), bounds))
    except Failure as failure:
        say({"type": "failed", "code": failure.code, "message": failure.message})
    except (MemoryError, RecursionError, OSError, ImportError) as error:
        # A library that can't be loaded, or has no thread, for want of memory says so in its own words.
        code = _code_of(error)
        say({"type": "failed", "code": code, "message": MESSAGES[code]})


def _code_of(error: Exception) -> str:
    match error:
        case MemoryError() | ImportError():
            return "out_of_memory"
        case RecursionError():
            return "damaged"
        case OSError():
            return _CODES.get(error.errno or 0, "crashed")
    return "crashed"


def extract(path: Path, name: str, folder: Path, bounds: Bounds) -> dict[str, Any]:
    from chats.knowledge.extractor import kinds, prepare, split  # noqa: PLC0415 - under the bounds, not before

    found = kinds.read(path, name=name, bounds=bounds, progress=Pace())
    if len(found.text) > bounds.max_characters:
        raise Failure("too_long")
    if not found.text.strip():
        raise Failure("no_text" if found.kind in {"pdf", "docx", "html"} else "empty")
    (folder / "text.txt").write_text(found.text, encoding="utf-8", newline="")
    preparation, count = prepare.Preparation(found.text, name=name), 0
    with (folder / "chunks.jsonl").open("w", encoding="utf-8") as rows:
        for chunk in split.chunks_of(found):
            rows.write(json.dumps(preparation.row(chunk)) + "\n")
            count += 1
    return {
        "type": "done",
        "kind": found.kind,
        "characters": len(found.text),
        "pages": len(found.page_starts) or None,
        "page_starts": found.page_starts,
        "chunks": count,
    }


class Pace:
    """Tells how far it is, a few times a second."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            say({"type": "progress", "done": done, "total": total})


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - whoever started us reads it


if __name__ == "__main__":
    main()
