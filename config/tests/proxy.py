"""A proxy that can forget its connections: they stay open, and nothing passes any more. New ones work."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        """`connect` reaches what is behind it, such as a partial of `asyncio.open_connection`."""
        self._connect = connect
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self.port = 0

    def forget(self) -> None:
        """From here on nothing passes over the connections that are open now."""
        self._generation += 1

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports are closed in the next turn of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation, streams = self._generation, [writer]
        # Held here: nothing else holds on to what only waits for a connection that says nothing.
        this = asyncio.current_task()
        assert this is not None
        self._tasks.add(this)
        try:
            from_there, to_there = await self._connect()
            streams.append(to_there)
            ways = ((reader, to_there), (from_there, writer))
            passing = [asyncio.create_task(self._pass_on(*way, generation)) for way in ways]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in passing:
                    one.cancel()
                await asyncio.gather(*passing, return_exceptions=True)
        except (asyncio.CancelledError, OSError):
            return  # at the end, or when there is nobody: asyncio's own callback would take it for a failure
        finally:
            self._tasks.discard(this)
            for stream in streams:
                stream.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if generation == self._generation:
                    sink.write(data)
                    await sink.drain()
