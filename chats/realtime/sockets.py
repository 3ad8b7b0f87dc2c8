"""An open socket, as those see it who count connections and shut out whose credential holds no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from accounts.authentication import Principal

CLOSE_REVOKED = 4401
CLOSE_SECONDS = 1


@dataclass(eq=False, frozen=True)
class OpenSocket:
    principal: Principal
    close: Callable[[int], Awaitable[None]]

    async def shut_out(self) -> None:
        # A client that takes no data must not keep others from being shut out; it is forgotten here at once, and hears
        # nothing more.
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(CLOSE_REVOKED)
