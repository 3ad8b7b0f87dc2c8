"""Starts what is measured, each process on its own core, and reads its costs from /proc."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
# What is measured has a core of its own; the provider and the clients share another.
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]
START_SECONDS = 60


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def tree_of(pid: int) -> list[int]:
    """The process and all below it."""
    children = [
        int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()
    ]
    return [pid, *(below for child in children for below in tree_of(child))]


def pin(pid: int, *cores: int) -> None:
    """Keep a process and all of its threads on these cores."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


@contextmanager
def running(
    command: Sequence[str], *, port: int, core: int, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The command on one core, until the block ends. What it prints is in `log`."""
    with tempfile.NamedTemporaryFile(prefix="parley-bench-", suffix=".log") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environment(environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        # It has only just begun, so every thread it will have is born on this core.
        os.sched_setaffinity(process.pid, {core})
        try:
            yield Running(process, port, Path(log.name))
        finally:
            process.terminate()
            process.wait(30)


def clean_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would make a cold start measure the compiler, or a developer's `.env`."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "ENV_FILE": os.devnull, **changes}


def wait_for_port(server: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"It did not start:\n{server.log.read_text()}")


def wait_for_page(server: Running, path: str) -> float:
    """Ask until the page answers; return the moment (of the monotonic clock) at which it was whole."""
    wait_for_port(server)
    while True:
        try:
            with urllib.request.urlopen(server.url + path, timeout=10) as response:
                response.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path} answered {error.code}:\n{server.log.read_text()[-4000:]}") from error
        except OSError:
            time.sleep(0.01)
        else:
            return time.monotonic()


def spin_milliseconds(core: int) -> float:
    """How long a fixed piece of work takes on this core now: machines that share cores change speed."""
    work = "t = time.perf_counter(); sum(i * i for i in range(200_000)); print(time.perf_counter() - t)"
    code = f"import os, time; os.sched_setaffinity(0, {{{core}}}); {work}"
    took = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return float(took.stdout) * 1000
