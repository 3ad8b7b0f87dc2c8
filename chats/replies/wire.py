"""Redis for the token path: every token comes this way twice, as it is written and as it is read.

The client's own pipeline and XREAD take several times as long for each command, most of it for records of how long it
took. Connecting, logging in and TLS are the client's.
"""

from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import ResponseError

from chats.replies.bus import connect

Command = tuple[str | int | bytes, ...]


class Wire:
    """One connection, for one task. Whoever calls says how long he waits; after a loss the next call connects anew.

    Both calls raise one of `bus.LOST`.
    """

    def __init__(self, url: str) -> None:
        pool: Any = connect(url, waits=True).connection_pool
        self._connection = pool.make_connection()

    async def ask(self, *command: str | int | bytes) -> Any:
        """What Redis answers, as it comes: bytes, numbers and lists."""
        await self._connection.send_packed_command(_packed(command), check_health=False)
        return await self._connection.read_response(disable_decoding=True)

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to these, in their order; one that is refused stands there as the error it is."""
        if self._connection.is_connected and await self._connection.can_read():
            # It was closed from the other side while nothing was said.
            await self.aclose()
        await self._connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
        return [await self._answer() for _ in commands]

    async def aclose(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as refusal:
            return refusal


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows of one word only
    return packed
