"""Redis for the token path: every token comes this way twice, as it is written and as it is read.

The client's own pipeline and XREAD take five to ten times as long for each command, most of it for answers that nobody
reads and for records of how long they took. Connecting, logging in and TLS are the client's.
"""

from collections.abc import Iterable
from typing import Any

import hiredis

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
        return await self._answer_to(_packed(command))

    async def tell(self, commands: Iterable[Command]) -> None:
        """Have all of these done, in their order. Returns once they are; what became of each stays unsaid."""
        await self._answer_to(b"".join([_SILENCE, *map(_packed, commands), _SPEECH]))

    async def aclose(self) -> None:
        await self._connection.disconnect()

    async def _answer_to(self, packed: bytes) -> Any:
        await self._connection.send_packed_command(packed, check_health=False)
        return await self._connection.read_response(disable_decoding=True)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows of one word only
    return packed


_SILENCE, _SPEECH = _packed(("CLIENT", "REPLY", "OFF")), _packed(("CLIENT", "REPLY", "ON"))
