"""Real servers of tools, by HTTP and as programs: the reference server from npm, and one made with Python's `mcp`.

`make mcp-reference` installs the first into build/ (it needs node and npm), starts both, and prints what came of
listing, calling, progress, errors, giving up and cancelling.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from benchmarks.processes import SERVER_CORE, running, wait_for_port  # noqa: E402 - Django must be set up first
from chats.tools.connections import Sessions  # noqa: E402
from chats.tools.errors import ToolServerError  # noqa: E402
from chats.tools.values import Endpoint  # noqa: E402
from config.tests.servers import free_port  # noqa: E402

NPM = Path("build/npm/node_modules/.bin/mcp-server-everything").resolve()
PYTHON = [sys.executable, "-m", "chats.tools.tests.reference_server"]
SHOWN = 90
CALLS: dict[str, list[tuple[str, dict[str, Any], float]]] = {
    "npm": [
        ("echo", {"message": "hi"}, 10),
        ("get-sum", {"a": 2, "b": 3}, 10),
        ("trigger-long-running-operation", {"duration": 1, "steps": 4}, 10),
        ("get-tiny-image", {}, 10),
        ("get-structured-content", {"location": "New York"}, 10),
        ("get-resource-links", {"count": 2}, 10),
        ("get-sum", {"a": "x"}, 10),
        ("no-such-tool", {}, 10),
        ("trigger-long-running-operation", {"duration": 30, "steps": 4}, 1),
    ],
    "python": [
        ("add", {"a": 2, "b": 3}, 10),
        ("count", {"steps": 4, "seconds": 0.2}, 10),
        ("fail", {}, 10),
        ("add", {"a": "x"}, 10),
        ("no-such-tool", {}, 10),
        ("count", {"steps": 4, "seconds": 30}, 1),
    ],
}


async def timed(what: str, work: Awaitable[Any]) -> None:
    began = time.monotonic()
    try:
        said = str(await work)
    except (ToolServerError, asyncio.CancelledError) as error:
        said = f"{type(error).__name__}: {error}"
    print(f"  {what:<34} {time.monotonic() - began:5.2f} s  {said[:SHOWN]}")


async def try_out(kind: str, endpoint: Endpoint) -> None:
    sessions = Sessions()
    connection = await sessions.connection(uuid4(), endpoint)
    found = await connection.list_tools()
    print(f"{endpoint.name}: {dict(found.about)}, {len(found.tools)} tools")
    for name, arguments, seconds in CALLS[kind]:
        steps: list[float] = []

        async def tell(done: float, _total: float | None, _words: str, steps: list[float] = steps) -> None:
            steps.append(done)

        call = connection.call(name, arguments, seconds=seconds, on_progress=tell)
        await timed(f"{name} within {seconds:g} s", call)
        if steps:
            print(f"    progress: {', '.join(f'{step:g}' for step in steps)}")
    name, arguments, _ = CALLS[kind][-1]
    calling = asyncio.create_task(connection.call(name, arguments, seconds=60))
    asyncio.get_running_loop().call_later(0.5, calling.cancel)
    await timed("cancelled after 0.5 s", calling)
    await timed("goodbye", sessions.close())


async def main() -> None:
    npm_port, python_port = free_port(), free_port()
    with (
        running(
            [str(NPM), "streamableHttp"], port=npm_port, core=SERVER_CORE, environment={"PORT": str(npm_port)}
        ) as npm,
        running([*PYTHON, str(python_port)], port=python_port, core=SERVER_CORE) as python,
    ):
        for server in (npm, python):
            wait_for_port(server)
        for kind, port, program in (("npm", npm_port, [str(NPM)]), ("python", python_port, PYTHON)):
            url = f"http://127.0.0.1:{port}/mcp"
            await try_out(kind, Endpoint(name=f"{kind} over HTTP", url=url, is_trusted=True))
            command, *arguments = [*program, "stdio"]
            here = str(Path.cwd())
            program_of = Endpoint(name=f"{kind} over stdio", command=command, arguments=arguments, directory=here)
            await try_out(kind, program_of)


if __name__ == "__main__":
    asyncio.run(main())
