"""How long until the first page, and what the idle process weighs."""

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import wait_for_page
from benchmarks.product import FIRST_PAGE, serving

IDLE_SECONDS = 3
ROUNDS = 3


def measure(data_dir: Path) -> dict[str, Any]:
    first, _ = start(data_dir)
    starts = [start(data_dir) for _ in range(ROUNDS)]
    return {
        "first_start_seconds": round(first, 2),
        "second_start_seconds": round(median(seconds for seconds, _ in starts), 2),
        "idle_rss_mib": round(median(rss for _, rss in starts)),
    }


def start(data_dir: Path) -> tuple[float, float]:
    """Seconds from the command to the first whole page, and MiB after some idle seconds."""
    began = time.monotonic()
    with serving(data_dir) as server:
        seconds = wait_for_page(server, FIRST_PAGE) - began
        time.sleep(IDLE_SECONDS)
        return seconds, server.rss_mib()
