"""The product on a fresh DATA_DIR, with one person, one key, and the mock provider as its model."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.processes import ROOT, SERVER_CORE, Running, clean_environment, running, wait_for_page
from config.tests.cluster import person_and_model
from config.tests.servers import free_port

MANAGE = [sys.executable, "manage.py"]
FIRST_PAGE = "/accounts/login/"
# One person plays many here; everything else is as shipped.
WIDER_LIMITS = {
    "RUNNING_REPLIES_PER_USER": "1000",
    "SENDS_PER_MINUTE_PER_USER": "100000",
    "API_REQUESTS_PER_MINUTE_PER_USER": "100000",
    "API_REQUESTS_PER_MINUTE_PER_PEER": "100000",
    "SOCKETS_PER_USER": "1000",
}


@dataclass(frozen=True)
class Product:
    server: Running
    key: str
    model: str

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.server.url, headers={"Authorization": f"Bearer {self.key}"})


@contextmanager
def serving(data_dir: Path, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`manage.py serve` as shipped, but for the limits of one person, and for what is said here."""
    port = free_port()
    environment = {"DATA_DIR": str(data_dir), **WIDER_LIMITS, **(environment or {})}
    with running(
        [*MANAGE, "serve", "--port", str(port)], port=port, core=SERVER_CORE, environment=environment
    ) as server:
        yield server


@contextmanager
def product(
    data_dir: Path, *, provider_port: int, model_id: str, environment: Mapping[str, str] | None = None
) -> Iterator[Product]:
    with serving(data_dir, environment) as server:
        wait_for_page(server, "/api/v1/health/")
        manage = partial(command, environment={"DATA_DIR": str(data_dir)})
        base_url = f"http://127.0.0.1:{provider_port}/v1"
        key, model = person_and_model(manage, base_url=base_url, model_id=model_id, name="Paced")
        yield Product(server, key=key, model=model)


def command(*words: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What an operator's command prints."""
    done = subprocess.run(
        [*MANAGE, *words], cwd=ROOT, env=clean_environment(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def create_chat(session: aiohttp.ClientSession, **fields: Any) -> str:
    async with session.post("/api/v1/chats/", json=fields) as response:
        response.raise_for_status()
        return str((await response.json())["id"])
