"""Runs the measurements and prints a table and one line of JSON."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import nodes, page_load, reading, sends, startup, streams, tools
from benchmarks.mock_provider import text_of
from benchmarks.processes import (
    CLIENT_CORE,
    CORES,
    SERVER_CORE,
    Running,
    running,
    spin_milliseconds,
    wait_for_port,
)
from benchmarks.product import Product, product
from config.tests.servers import free_port

LOAD = streams.Load()
SENDS = 50
LONG_CHATS = (500, 5_000)  # messages


def measure_streams(folder: Path) -> dict[str, Any]:
    """The product and the pass-through in turn, twice, so that a change of the machine's speed meets both."""
    port, through_port = free_port(), free_port()
    provider = [sys.executable, "-m", "benchmarks.mock_provider", str(port)]
    through = [sys.executable, "-m", "benchmarks.pass_through", str(through_port), str(port)]
    with (
        running(provider, port=port, core=CLIENT_CORE) as mock,
        running(through, port=through_port, core=SERVER_CORE) as pass_through,
        product(folder / "streams", provider_port=port, model_id=LOAD.model_id) as parley,
    ):
        wait_for_port(mock)
        wait_for_port(pass_through)
        return {f"round_{number}": measure_round(pass_through, parley) for number in (1, 2)}


def measure_round(pass_through: Running, parley: Product) -> dict[str, Any]:
    return {
        "pass_through": asyncio.run(streams.measure_pass_through(pass_through, LOAD)),
        "parley": asyncio.run(streams.measure(parley, LOAD)),
    }


def measure_sends(folder: Path) -> dict[str, Any]:
    port = free_port()
    provider = [sys.executable, "-m", "benchmarks.mock_provider", str(port)]
    with (
        running(provider, port=port, core=CLIENT_CORE) as mock,
        product(folder / "sends", provider_port=port, model_id="paced-50-100") as parley,
    ):
        wait_for_port(mock)
        return asyncio.run(sends.measure(parley, sends=SENDS, expected=text_of(50)))


def measure_nodes(folder: Path) -> dict[str, Any]:
    return nodes.measure(folder / "nodes")


def measure_startup(folder: Path) -> dict[str, Any]:
    return startup.measure(folder / "startup")


def measure_pages(folder: Path) -> dict[str, Any]:
    with product(folder / "pages", provider_port=free_port(), model_id="paced-1-1") as parley:
        long_chats = {size: asyncio.run(page_load.make_long_chat(parley, messages=size)) for size in LONG_CHATS}
        # A browser is many processes: squeezed into one core it would measure their waiting for each other.
        os.sched_setaffinity(0, CORES)
        try:
            return page_load.measure(parley, long_chats=long_chats)
        finally:
            os.sched_setaffinity(0, {CLIENT_CORE})


def measure_reading(folder: Path) -> dict[str, Any]:
    with product(folder / "reading", provider_port=free_port(), model_id="paced-1-1") as parley:
        # The process that reads is on whichever core is free, as it is on any machine.
        os.sched_setaffinity(parley.server.process.pid, CORES)
        return asyncio.run(reading.measure(parley))


def measure_tools(folder: Path) -> dict[str, Any]:
    return tools.measure(folder / "tools")


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "streams": measure_streams,
    "sends": measure_sends,
    "nodes": measure_nodes,
    "startup": measure_startup,
    "pages": measure_pages,
    "reading": measure_reading,
    "tools": measure_tools,
}


def rows(result: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(result, dict):
        return [(path, result)]
    return [row for name, inner in result.items() for row in rows(inner, f"{path} {name}".strip())]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *MEASUREMENTS], help="which of them; all by default")
    chosen = parser.parse_args().only or list(MEASUREMENTS)
    os.sched_setaffinity(0, {CLIENT_CORE})
    results: dict[str, Any] = {"spin_ms_before": spins()}
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        for name in chosen:
            print(f"measuring {name} …", file=sys.stderr)
            results[name] = MEASUREMENTS[name](Path(folder))
    results["spin_ms_after"] = spins()
    for path, value in rows(results):
        print(f"{path:<60} {value}")
    print(json.dumps(results))


def spins() -> dict[str, float]:
    return {f"core_{core}": round(spin_milliseconds(core), 1) for core in sorted({SERVER_CORE, CLIENT_CORE})}


if __name__ == "__main__":
    main()
