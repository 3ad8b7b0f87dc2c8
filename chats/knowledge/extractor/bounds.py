"""What this process may take, set by itself before it looks at the file."""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

OUTPUT_MAX_BYTES = 400_000_000
OPEN_FILES_MAX = 64
NICENESS = 10
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Bounds:
    """As `ExtractionLimits` has them, but for the wall clock, which others watch."""

    cpu_seconds: int
    memory_bytes: int
    max_pages: int
    max_characters: int
    expanded_max_bytes: int
    expanded_max_ratio: int
    expanded_max_entries: int

    def hold(self, *, parent: int) -> None:
        """From here on the kernel sees to it; also that this process ends with its `parent`, or at once without one."""
        _end_with(parent)
        os.nice(NICENESS)
        for kind, most in (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_FSIZE, OUTPUT_MAX_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (most, most))
        # The soft limit is a signal that says what it was, the hard one an end without words.
        resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + 1))


def _end_with(parent: int) -> None:
    with suppress(AttributeError):  # there is no such call but on Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("Whoever started this is gone.")
