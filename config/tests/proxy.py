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
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            server.close()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.01))
            self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._generation
        from_there, to_there = await self._connect()
        ways = ((reader, to_there), (from_there, writer))
        try:
            await asyncio.gather(*(self._pass_on(source, sink, generation) for source, sink in ways))
        except asyncio.CancelledError:
            return  # at the end, which asyncio's own callback would take for a failure
        finally:
            writer.transport.abort()
            to_there.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if generation == self._generation:
                    sink.write(data)
                    await sink.drain()
            if generation == self._generation:
                sink.write_eof()
