"""What an operator reads when a process can't start: one sentence, and what to change."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.conf import settings

from config.tests import servers
from config.tests.prepared import new_database, prepared_cluster


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", servers.free_port()))) as taken:
        yield taken.getsockname()[1]


def start(folder, *words, **environment):
    """The exit code of a command, and all that it printed."""
    unset = ("DATABASE_URL", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    given = {"ENV_FILE": os.devnull, "DATA_DIR": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=settings.BASE_DIR,
        env=inherited | given,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_port_in_use_is_named_with_how_to_choose_another(tmp_path, taken_port):
    code, said = start(tmp_path, "serve", "--port", str(taken_port))
    assert code == 1
    assert f"Port {taken_port} of 127.0.0.1 is in use. Choose another: manage.py serve --port {taken_port + 1}" in said
    assert "Traceback" not in said
    assert "Applying" not in said, "nothing is done before it is known"


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_refused(tmp_path, port):
    code, said = start(tmp_path, "serve", f"--port={port}")
    assert code
    assert f"{port} is no port. Choose one from 1 to 65535." in said
    assert "Traceback" not in said


def test_a_host_that_is_not_here_is_refused(tmp_path):
    code, said = start(tmp_path, "serve", "--host", "192.0.2.1", "--port", "0")
    assert code == 1
    assert "192.0.2.1 is no address of this machine" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["serve", "--port", "0", "--no-migrate"], ["worker"]])
def test_without_its_postgresql_a_process_says_so_and_ends_at_once(tmp_path, command):
    port = servers.free_port()
    url = f"postgresql://parley:canary@127.0.0.1:{port}/parley"
    began = time.monotonic()
    code, said = start(tmp_path, *command, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert f"PostgreSQL at 127.0.0.1:{port} can't be reached: Connection refused. See DATABASE_URL." in said
    assert "canary" not in said
    assert "Traceback" not in said
    assert time.monotonic() - began < 30, "the pool's own patience is longer"


@pytest.mark.skipif(settings.IS_SQLITE, reason="there is no Redis beside SQLite")
@pytest.mark.timeout(120)
def test_without_its_redis_a_process_says_so_and_starts(tmp_path):
    port = servers.free_port()
    with prepared_cluster(
        tmp_path,
        database_url=new_database("start"),
        redis_url=f"redis://:canary@127.0.0.1:{port}/0",
        kinds={"one": "both"},
    ) as made:
        said = made.nodes["one"].log.read_text()
    assert f"Redis at 127.0.0.1:{port} can't be reached" in said
    assert "canary" not in said
