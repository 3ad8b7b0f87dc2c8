"""What a program of the operator's wrote last to its standard error: mostly why it does not start."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO, cast

from chats.cleaning import clean_text
from chats.tools.values import Endpoint

KEPT_BYTES = 4_096
SHOWN_CHARACTERS = 300
# After so much there is a pause: whoever writes without end takes nothing from others.
MUCH_BYTES = 65_536
PAUSE_SECONDS = 0.1
# How long what was written may be on its way after the program has ended.
LATE_SECONDS = 0.2
SECRET_MIN_CHARACTERS = 4


class LastWords(asyncio.Protocol):
    """`file` is given to the program."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self._tail = b""
        self._since_pause = 0
        self._is_over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-KEPT_BYTES:]
        self._since_pause += len(data)
        if self._since_pause >= MUCH_BYTES:
            self._since_pause = 0
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._is_over.set()

    async def said(self, endpoint: Endpoint) -> str:
        """One sentence for those who have set the program up, without what it was given in secret; "" for nothing."""
        self.file.close()
        try:
            async with asyncio.timeout(LATE_SECONDS):
                await self._is_over.wait()
        except TimeoutError:
            pass
        text = clean_text(self._tail.decode(errors="replace"))
        for secret in endpoint.environment.values():
            if len(secret) >= SECRET_MIN_CHARACTERS:
                text = text.replace(secret, "••••••••")
        line = " ".join(text.split())[-SHOWN_CHARACTERS:]
        return f"It wrote last: «{line}»." if line else ""


@asynccontextmanager
async def last_words() -> AsyncIterator[LastWords]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as pipe, os.fdopen(writing, "w") as file:
        words = LastWords(file)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: words, pipe)
        try:
            yield words
        finally:
            file.close()
            transport.close()
