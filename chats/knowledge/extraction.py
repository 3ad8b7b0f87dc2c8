"""Text out of a file, by a process that may take so much and no more: see `chats.knowledge.extractor`."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from chats.knowledge.extractor.bounds import Bounds
from chats.knowledge.extractor.failures import MESSAGES

logger = structlog.get_logger(__name__)

ROOT = Path(__file__).resolve().parents[2]
# The last line has a number for each page.
LINE_MAX_BYTES = 1_000_000
ERRORS_KEPT_BYTES = 2_000

Note = Callable[[int, int], None]


@dataclass(frozen=True)
class ExtractionLimits(Bounds):
    """What reading one file may take."""

    cpu_seconds: int = 60
    memory_bytes: int = 536_870_912
    max_pages: int = 2_000
    max_characters: int = 10_000_000
    expanded_max_bytes: int = 200_000_000
    expanded_max_ratio: int = 100
    expanded_max_entries: int = 10_000
    total_seconds: float = 90

    @property
    def bounds(self) -> dict[str, Any]:
        """Those that the child sets for itself."""
        return {name: value for name, value in asdict(self).items() if name != "total_seconds"}


@dataclass(frozen=True)
class Extracted:
    """What was read. The files are in the folder that was given; `pages` is None where a file has none."""

    kind: str
    characters: int
    pages: int | None
    page_starts: list[int]
    chunks: int
    text_path: Path
    chunks_path: Path


class ExtractionFailed(Exception):
    """The file can't be read: a code, and a sentence for people that says what to do."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code, self.message = code, message or MESSAGES[code]
        super().__init__(self.code)


async def extract(
    path: Path,
    *,
    name: str,
    folder: Path,
    limits: ExtractionLimits = ExtractionLimits(),
    on_progress: Note = lambda _done, _total: None,
) -> Extracted:
    """Read the file at `path`, which a person called `name`, into `folder`. Raises ExtractionFailed.

    Cancelled, or after `total_seconds`, the child is killed with all that it may have started.
    """
    job = {"path": str(path), "name": name, "folder": str(folder), "bounds": limits.bounds, "parent": os.getpid()}
    async with _child(json.dumps(job).encode()) as child:
        try:
            async with asyncio.timeout(limits.total_seconds):
                said = await _last_word(child, on_progress)
                status = await child.wait()
        except TimeoutError:
            raise ExtractionFailed("too_slow") from None
    if said.get("type") != "done":
        code = str(said.get("code") or _code_of(status))
        raise ExtractionFailed(code, str(said.get("message") or MESSAGES[code]))
    return Extracted(
        kind=said["kind"],
        characters=said["characters"],
        pages=said["pages"],
        page_starts=said["page_starts"],
        chunks=said["chunks"],
        text_path=folder / "text.txt",
        chunks_path=folder / "chunks.jsonl",
    )


@asynccontextmanager
async def _child(job: bytes) -> AsyncIterator[Process]:
    """The process, which is gone when the block ends. It knows nothing of ours: no setting, no key, no open file."""
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # each of its threads takes memory before it does anything
    }
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chats.knowledge.extractor"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        cwd="/",
        limit=LINE_MAX_BYTES,
        start_new_session=True,
    )
    errors = asyncio.create_task(_first_of(child.stderr))
    try:
        # Not as an argument, where everybody on this machine reads what the document is called.
        await _tell(child, job)
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.shield(child.wait())
        if said := await errors:
            logger.info("extractor_said", text=said)


async def _tell(child: Process, job: bytes) -> None:
    assert child.stdin is not None
    with suppress(ConnectionError):
        child.stdin.write(job)
        await child.stdin.drain()
    child.stdin.close()


async def _first_of(stream: asyncio.StreamReader | None) -> str:
    """The beginning of what it complains of; all is read, so that it never waits for us."""
    assert stream is not None
    kept = b""
    while part := await stream.read(65_536):
        kept += part[: ERRORS_KEPT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")


async def _last_word(child: Process, on_progress: Note) -> dict[str, Any]:
    """How it ended, as it says; {} if it says nothing."""
    assert child.stdout is not None
    said: dict[str, Any] = {}
    try:
        async for line in child.stdout:
            said = json.loads(line)
            if said["type"] == "progress":
                on_progress(said["done"], said["total"])
    except (ValueError, KeyError, TypeError):
        # A line without end, or none of ours.
        return {"type": "failed", "code": "crashed"}
    return said


def _code_of(status: int) -> str:
    """Why a child ended that did not say so."""
    match -status:
        case signal.SIGXCPU:
            return "too_slow"
        case signal.SIGKILL:
            # Most often by the kernel, where this machine or container has no more memory; it doesn't say.
            return "killed"
    return "crashed"
