"""A deployment on this machine, for trying and for tests: two nodes and a worker over one PostgreSQL and one Redis.

    python -m config.tests.cluster [--port 8001]

PostgreSQL and Redis come from the development requirements and keep their data in a folder that goes away at the end.
"""

import argparse
import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis

from config.tests import servers
from config.tests.live import wait_until

START_SECONDS = 60
# As the promise is: after SIGTERM a node has this long to finish or to hand over.
END_SECONDS = 35
WATCH_SECONDS = 1
EMAIL, PASSWORD = "person@example.org", "correct horse battery"
ANSWER_SECONDS = 5
KINDS = {"web": ("serve", {"RUNS_REPLIES": "false"}), "both": ("serve", {}), "worker": ("worker", {})}


class Process:
    """`manage.py serve` or `manage.py worker` as an operator starts it. `kind` is web, both or worker."""

    def __init__(self, name: str, kind: str, environment: Mapping[str, str], folder: Path, port: int | None) -> None:
        self.name, self.kind = name, kind
        self.port = 0 if kind == "worker" else port or servers.free_port()
        self.log = folder / f"{name}.log"
        self._environment = dict(environment) | KINDS[kind][1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "manage.py", KINDS[self.kind][0]]
        if self.port:
            command += ["--port", str(self.port), "--no-migrate"]
        with self.log.open("a") as log:
            log.write("--- starts\n")
            log.flush()
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        wait_until(self._is_ready, seconds=START_SECONDS, what=f"{self.name} is ready")

    def kill(self) -> None:
        """As a machine dies: at once, and without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """As a deploy ends it. Returns its exit code."""
        self.ask_to_end()
        return self.wait_ended()

    def ask_to_end(self) -> None:
        assert self.process is not None
        self.process.terminate()

    def wait_ended(self) -> int:
        assert self.process is not None
        return self.process.wait(END_SECONDS)

    def fault(self) -> str:
        """Why it does not run; "" when it does."""
        assert self.process is not None
        code = self.process.poll()
        return "" if code is None else f"exit code {code}, see {self.log}"

    def _is_ready(self) -> bool:
        assert self.process is not None
        words = self.log.read_text().rpartition("--- starts")[2]
        assert self.process.poll() is None, words
        return "is ready" in words


class Cluster:
    """`nodes` by name. `manage(*words)` runs a command and gives what it prints."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(os.environ) | dict(environment)
        self.nodes: dict[str, Process] = {}

    def add(self, name: str, kind: str, *, port: int | None = None, **environment: str) -> Process:
        node = self.nodes[name] = Process(name, kind, self.environment | environment, self.folder, port)
        node.start()
        return node

    def call(self, node: str, method: str, path: str, body: Any = None, *, key: str) -> Any:
        """The JSON that the API of this node answers, None for an empty body. Raises urllib.error.HTTPError."""
        with self.open(node, method, path, body, key=key) as answer:
            return json.loads(answer.read() or "null")

    def open(self, node: str, method: str, path: str, body: Any = None, *, key: str) -> http.client.HTTPResponse:
        """Its whole answer, to be read as it comes."""
        request = urllib.request.Request(f"{self.nodes[node].url}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {key}")
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode() if body is not None else None
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, data, timeout=20)
        return answer

    def manage(self, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "manage.py", *words], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed:\n{done.stderr}")
        return json.loads(done.stdout or "null")

    def stop(self) -> None:
        running = [n.process for n in self.nodes.values() if n.process is not None and n.process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def person_and_model(manage: Callable[..., Any], *, base_url: str, model_id: str, name: str) -> tuple[str, str]:
    """The key of a new person, and the id of a new model of the provider at `base_url`. `manage` runs a command."""
    person = manage("create_user", EMAIL, "--password", PASSWORD, "--api-key", "program")
    model = manage(
        *("add_model", name, "--provider", "Fake", "--kind", "openai", "--base-url", base_url),
        *("--model-id", model_id, "--input-price", "1.25", "--output-price", "10"),
    )
    return person["api_key"], model["id"]


@contextmanager
def cluster(
    folder: Path, *, kinds: Mapping[str, str], database_url: str = "", redis_url: str = "", **environment: str
) -> Iterator[Cluster]:
    """Nodes of these kinds over one database and one Redis, all ready; `folder` gets their logs.

    Without these addresses, and with one node, it is the embedded default: SQLite in `folder`.
    """
    made = new_cluster(folder, database_url=database_url, redis_url=redis_url, **environment)
    migrate(made)
    collect(made)
    with running(made, kinds):
        yield made


def new_cluster(folder: Path, *, database_url: str, redis_url: str, **environment: str) -> Cluster:
    """As `cluster`, without tables, static files and nodes."""
    base = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(folder / "data"),
        # Of its own: another cluster may be collecting at this moment.
        "STATIC_ROOT": str(folder / "static"),
        "ENV_FILE": os.devnull,
    }
    return Cluster(folder, base | environment)


def migrate(made: Cluster) -> None:
    made.manage("migrate", "--verbosity", "0")


def collect(made: Cluster) -> None:
    made.manage("collectstatic", "--noinput", "--verbosity", "0")


@contextmanager
def running(made: Cluster, kinds: Mapping[str, str]) -> Iterator[None]:
    """Nodes of these kinds, all ready, until the block ends."""
    try:
        for name, kind in kinds.items():
            made.add(name, kind)
        for node in made.nodes.values():
            node.wait_ready()
        yield
    finally:
        made.stop()


def fault_of_postgresql(url: str) -> str:
    return _fault_of(lambda: psycopg.connect(url, connect_timeout=ANSWER_SECONDS).close())


def fault_of_redis(url: str) -> str:
    return _fault_of(redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS).ping)


def _fault_of(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (psycopg.Error, redis.RedisError) as error:
        return str(error).strip()
    return ""


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001, help="of the first node; the second has the next")
    first_port = parser.parse_args().port
    is_over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_over.set())
    with tempfile.TemporaryDirectory(prefix="parley-cluster-") as folder:
        try:
            database_url = servers.start_postgresql(Path(folder) / "postgresql")
            redis_url = servers.start_redis(Path(folder) / "redis")
            with cluster(Path(folder), database_url=database_url, redis_url=redis_url, kinds={}) as made:
                for offset, name in enumerate(("node-1", "node-2")):
                    made.add(name, "web", port=first_port + offset)
                made.add("worker", "worker")
                for node in made.nodes.values():
                    node.wait_ready()
                    say(f"{node.name:<8} {node.url if node.port else 'runs replies'}   log: {node.log}")
                say("Sign up at either node; Ctrl-C ends everything and throws it away.")
                say("For commands such as manage.py add_model, or for one more worker, say in another terminal:")
                for name in ("DATABASE_URL", "REDIS_URL", "DATA_DIR"):
                    say(f"  export {name}={shlex.quote(made.environment[name])}")
                faults = {
                    "PostgreSQL": partial(fault_of_postgresql, database_url),
                    "Redis": partial(fault_of_redis, redis_url),
                    **{node.name: node.fault for node in made.nodes.values()},
                }
                while not is_over.wait(WATCH_SECONDS):
                    for name in [name for name, fault in faults.items() if fault()]:
                        say(f"{name} has died: {faults.pop(name)()}")
        finally:
            servers.stop_all()


if __name__ == "__main__":
    main()
