"""Answers that come as one JSON body, not as a stream."""

from typing import Any

import aiohttp

from chats.llm import http
from chats.llm.decoding import decode
from chats.llm.errors import ProviderUnreachable
from chats.llm.failures import failure_of_status
from chats.llm.values import Limits


async def body_of(
    call: http.Call, session: aiohttp.ClientSession, *, limits: Limits, deadline: float, max_bytes: int, what: str
) -> bytes | None:
    """The body of the answer to `call`; None when it is longer than `max_bytes`. Raises ProviderError.

    `what` is what people know it by. `deadline` is the event loop's time by which all of it must be here.
    """
    host = http.host_of(call.target)
    async with await call.send(session, limits=limits, deadline=deadline) as response:
        try:
            body, is_all = await http.read_all(response, max_bytes=max_bytes, deadline=deadline)
        except (TimeoutError, http.ConnectionLost) as error:
            raise ProviderUnreachable(f"{host} broke off its {what}. Try again.") from error
    if http.is_compressed(response):
        raise http.compressed(host)
    if response.status != 200:
        raise failure_of_status(response.status, body=body, target=call.target, headers=response.headers)
    return body if is_all else None


def value_of(body: bytes) -> Any:
    """What the JSON of `body` says; None if it is none."""
    try:
        return decode(body)
    except ValueError:
        return None
