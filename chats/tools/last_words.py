"""What a program of the operator's wrote last to its standard error: mostly why it does not start."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

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
DOT = "•"


class LastWords(asyncio.Protocol):
    """`stderr` is given to the program, and closed here once it has it."""

    def __init__(self, stderr: socket.socket, endpoint: Endpoint) -> None:
        self.stderr = stderr
        self._secrets = _secrets_of(endpoint)
        self._longest = max((len(secret.encode()) for secret in self._secrets), default=0)
        self._tail, self._is_cut = b"", False
        self._since_pause = 0
        self._is_over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        whole = self._tail + data
        self._tail = whole[-KEPT_BYTES - self._longest :]
        self._is_cut = self._is_cut or len(whole) > len(self._tail)
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

    async def said(self) -> str:
        """One sentence for those who have set the program up, without what it was given in secret; "" for nothing."""
        self.stderr.close()
        try:
            async with asyncio.timeout(LATE_SECONDS):
                await self._is_over.wait()
        except TimeoutError:
            pass
        text = self._tail.decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, DOT * len(secret))
        if self._is_cut:
            # The end of a secret may be there, which is not known by its end.
            text = text[self._longest :]
        line = " ".join(re.sub(f"{DOT}+", DOT * 8, clean_text(text)).split())[-SHOWN_CHARACTERS:]
        return f"It wrote last: «{line}»." if line else ""


def _secrets_of(endpoint: Endpoint) -> list[str]:
    """As they are and as a log in JSON has them, the longest first: one may be a part of another."""
    plain = [secret for secret in endpoint.environment.values() if len(secret) >= SECRET_MIN_CHARACTERS]
    escaped = [json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for secret in plain for is_ascii in (True, False)]
    return sorted({*plain, *escaped}, key=len, reverse=True)


@asynccontextmanager
async def last_words(endpoint: Endpoint) -> AsyncIterator[LastWords]:
    # Not a pipe: uvloop closes the descriptor of one twice, and by then it may be somebody else's.
    ours, theirs = socket.socketpair()
    with theirs:
        words = LastWords(theirs, endpoint)
        transport = None
        try:
            transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: words, sock=ours)
            yield words
        finally:
            if transport is not None:
                transport.close()
            else:
                ours.close()
