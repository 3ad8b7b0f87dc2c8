"""A program of the operator's that speaks MCP on its standard input and output, a message on each line.

In the place of the package's own reader of programs, which keeps a line however long it becomes, reads it on the event
loop, and leaves a program running that does not end at once when whoever used it is cancelled.
https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#stdio
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, TextIO

import anyio
import mcp_types as types
from anyio.abc import Process
from django.conf import settings
from mcp.client.stdio import get_default_environment
from mcp.os.posix.utilities import terminate_posix_process_tree
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from chats.tools.apart import uncancelled
from chats.tools.errors import ServerNonsense
from chats.tools.values import Endpoint
from chats.tools.washing import LineWasher, NotAMessage, TooMuch, taken

_MESSAGE = types.jsonrpc_message_adapter
READ_BYTES = 65_536
# For what was said to it last to arrive, for it to end by itself, and again to end when it is told to.
FLUSH_SECONDS, EXIT_SECONDS, TERMINATE_SECONDS = 0.5, 2.0, 2.0
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Program:
    """One that runs. `streams` are for the client of MCP; `running` has `hear`, `tell` and `end` run, once each."""

    def __init__(self, process: Process, *, name: str) -> None:
        self._process, self._name = process, name
        self._to_client, self._from_program = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        self._to_program, self._from_client = anyio.create_memory_object_stream[SessionMessage](0)
        self._washer = LineWasher()
        self.last_failure: ServerNonsense | None = None
        self.is_over = False  # nothing will come of it any more

    @property
    def streams(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext((self._from_program, self._to_program))

    async def hear(self) -> None:
        """Hand what it says to the client, until one of both ends. Nobody reads on: who floods is stuck then."""
        assert self._process.stdout
        try:
            async with self._to_client:
                while not self.is_over:
                    chunk = await self._process.stdout.receive(READ_BYTES)
                    # Off the event loop: others are not to wait while it is read.
                    messages, nonsense = await asyncio.to_thread(taken, self._messages_in(chunk))
                    for message in messages:
                        await self._to_client.send(message)
                    if nonsense is not None:
                        raise nonsense
        except NotAMessage as error:
            what = "more than is taken" if isinstance(error, TooMuch) else "what is not MCP"
            self.last_failure = ServerNonsense(f"{self._name} wrote {what}.", is_begun=True)
        except _GONE:
            pass
        self.is_over = True

    async def tell(self) -> None:
        """Hand it what the client says."""
        assert self._process.stdin
        try:
            async with self._from_client:
                async for said in self._from_client:
                    if isinstance(said.message, types.JSONRPCRequest):
                        self._washer.expect_answer()
                    line = said.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await self._process.stdin.send(line.encode() + b"\n")
        except _GONE:
            # It may live on: the client is to see the end of the connection, not to wait for answers.
            self.is_over = True
            await self._to_client.aclose()

    async def end(self, *, hearing: asyncio.Task[None], telling: asyncio.Task[None]) -> None:
        """Let it end by itself, or else make it, with all that it has started."""
        self.is_over = True
        self._from_program.close()
        self._to_program.close()
        draining = asyncio.create_task(self._drain(hearing))
        try:
            await asyncio.wait({telling}, timeout=FLUSH_SECONDS)
            assert self._process.stdin
            await self._process.stdin.aclose()
            await self._wait(EXIT_SECONDS)
            await terminate_posix_process_tree(self._process, TERMINATE_SECONDS)
            await self._wait(TERMINATE_SECONDS)
        except asyncio.CancelledError:
            # This process ends, and nobody would be left to see to it.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            raise
        tasks = {hearing, telling, draining}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._process.returncode is not None:
            await self._process.aclose()

    def _messages_in(self, chunk: bytes) -> Iterator[SessionMessage]:
        for message in self._washer.feed(chunk):
            try:
                yield SessionMessage(_MESSAGE.validate_json(message.line))
            except ValidationError:
                # For an answer somebody waits.
                if message.is_answer:
                    raise NotAMessage from None

    async def _drain(self, hearing: asyncio.Task[None]) -> None:
        """Read on: who is stuck writing does not see that it is to end."""
        assert self._process.stdout
        await asyncio.wait({hearing})
        with suppress(*_GONE):
            while True:
                await self._process.stdout.receive(READ_BYTES)

    async def _wait(self, seconds: float) -> None:
        """For its end, so many seconds at most."""
        with anyio.move_on_after(seconds):
            await self._process.wait()


@asynccontextmanager
async def running(endpoint: Endpoint, *, errors: TextIO) -> AsyncIterator[Program]:
    """The program for as long as the block lasts. Raises OSError when it can't be started."""
    process = await anyio.open_process(
        [endpoint.command, *endpoint.arguments],
        # Beside its own: PATH, HOME, LOGNAME, SHELL, TERM and USER, and nothing else of our environment.
        env=get_default_environment() | dict(endpoint.environment),
        cwd=endpoint.directory or settings.DATA_DIR,
        stderr=errors,
        start_new_session=True,
    )
    program = Program(process, name=endpoint.name)
    hearing = asyncio.create_task(program.hear())
    telling = asyncio.create_task(program.tell())
    try:
        yield program
    finally:
        await uncancelled(program.end(hearing=hearing, telling=telling))
