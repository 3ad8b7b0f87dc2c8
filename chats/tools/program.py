"""A program of the operator's that speaks MCP on its standard input and output, a message on each line.

In the place of the package's own reader of programs, which keeps a line however long it becomes, reads it on the event
loop, and leaves a program running that does not end at once when whoever used it is cancelled.
https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#stdio
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any

import anyio
import mcp_types as types
from django.conf import settings
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from chats.tools.apart import uncancelled
from chats.tools.errors import ServerNonsense
from chats.tools.values import Endpoint
from chats.tools.washing import LineWasher, NotAMessage, TooMuch, taken

_MESSAGE = types.jsonrpc_message_adapter
READ_BYTES = 65_536
# Whoever writes a few bytes at a time is read in larger pieces.
SMALL_BYTES, GATHER_SECONDS = 4_096, 0.005
# For what was said to it last to arrive, for it to end by itself, and again to end when it is told to.
FLUSH_SECONDS, EXIT_SECONDS, TERMINATE_SECONDS = 0.5, 2.0, 2.0
KILL_SECONDS = 0.5  # for what the system has to end at once
_POLL_SECONDS = 0.01
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Program:
    """One that runs. `streams` are for the client of MCP; `running` has `hear`, `tell` and `end` run, once each."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, *, name: str
    ) -> None:
        self._process, self._name = process, name
        self._stdin, self._stdout = stdin, stdout
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
        with suppress(*_GONE):
            async with self._to_client:
                try:
                    await self._pass_on()
                except NotAMessage as error:
                    what = "more than is taken" if isinstance(error, TooMuch) else "what is not MCP"
                    self.last_failure = ServerNonsense(f"{self._name} wrote {what}.", is_begun=True)
                finally:
                    self.is_over = True

    async def _pass_on(self) -> None:
        while not self.is_over and (chunk := await self._stdout.read(READ_BYTES)):
            # Off the event loop: others are not to wait while it is read.
            messages, nonsense = await asyncio.to_thread(taken, self._messages_in(chunk))
            for message in messages:
                await self._to_client.send(message)
            if nonsense is not None:
                raise nonsense
            if len(chunk) < SMALL_BYTES:
                await asyncio.sleep(GATHER_SECONDS)

    async def tell(self) -> None:
        """Hand it what the client says."""
        try:
            async with self._from_client:
                async for said in self._from_client:
                    if isinstance(said.message, types.JSONRPCRequest):
                        self._washer.expect_answer()
                    line = said.message.model_dump_json(by_alias=True, exclude_unset=True)
                    self._stdin.write(line.encode() + b"\n")
                    await self._stdin.drain()
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
            self._stdin.close()
            await self._wait(lambda: self._process.poll() is None, seconds=EXIT_SECONDS)
            self._kill(signal.SIGTERM)
            await self._wait(lambda: self._process.poll() is None or self._kill(0), seconds=TERMINATE_SECONDS)
        finally:
            # Also when this process ends meanwhile, and nobody would be left to see to it.
            self._kill(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
        tasks = {hearing, telling, draining}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

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
        await asyncio.wait({hearing})
        with suppress(OSError):
            while await self._stdout.read(READ_BYTES):
                pass

    async def _wait(self, is_alive: Callable[[], bool], *, seconds: float) -> None:
        """Until nobody is, so many seconds at most. Nothing tells when others' children end."""
        with anyio.move_on_after(seconds):
            while is_alive():  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)

    def _kill(self, number: int) -> bool:
        """Whether there was anybody who could be told."""
        try:
            # The program leads a group of its own, which is called as it is, also after it has gone.
            os.killpg(self._process.pid, number)
        except OSError:
            return False
        return True


@asynccontextmanager
async def running(endpoint: Endpoint, *, stderr: socket.socket) -> AsyncIterator[Program]:
    """The program for as long as the block lasts; `stderr` is closed here. Raises OSError when it can't be started."""
    with ExitStack() as ours:
        with ExitStack() as its:
            its.enter_context(stderr)
            its_stdin, _, stdin = await _pair(its)
            ours.callback(stdin.close)
            its_stdout, stdout, other = await _pair(its)
            ours.callback(other.close)
            process = _started(endpoint, its_stdin.fileno(), its_stdout.fileno(), stderr.fileno())
        program = Program(process, stdin, stdout, name=endpoint.name)
        hearing, telling = asyncio.create_task(program.hear()), asyncio.create_task(program.tell())
        try:
            yield program
        finally:
            await uncancelled(program.end(hearing=hearing, telling=telling))


def _started(endpoint: Endpoint, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    # Not by the event loop: the children of uvloop inherit what is not theirs.
    return subprocess.Popen(  # noqa: S603 - what the operator has named, without a shell
        [endpoint.command, *endpoint.arguments],
        # Beside its own: PATH, HOME, LOGNAME, SHELL, TERM and USER, and nothing else of our environment.
        env=get_default_environment() | dict(endpoint.environment),
        cwd=endpoint.directory or settings.DATA_DIR,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def _pair(its: ExitStack) -> tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]:
    """One end, which `its` closes, and the streams of the other."""
    theirs, ours = socket.socketpair()
    its.enter_context(theirs)
    try:
        return theirs, *await asyncio.open_unix_connection(sock=ours, limit=READ_BYTES)
    except BaseException:
        ours.close()
        raise
