"""The one way to a provider: an HTTP client that connects only where the address policy lets it.

No redirects, no cookies, no proxies from the environment, no netrc. Addresses are resolved once, checked, and exactly
those are connected to. The key goes to the host of the target and nowhere else.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from accounts.outbound import STAFF_POLICY, AddressDenied, AddressPolicy
from chats.llm.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderRefused,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from chats.llm.values import Limits, Target

_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


class ConnectionLost(Exception):
    """The connection broke while the answer was being read."""


class GuardedResolver(aiohttp.ThreadedResolver):
    """Resolves names as the system does and refuses a name if any of its addresses is denied."""

    def __init__(self, policy: AddressPolicy) -> None:
        super().__init__()
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for entry in found:
            self._policy.check_address(entry["host"], host=host, port=port)
        return found


def new_session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(STAFF_POLICY), limit=0)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
    )


def shared_session() -> aiohttp.ClientSession:
    """The session of the running event loop, opened on first use."""
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        session = _sessions[loop] = new_session()
    return session


async def close_sessions() -> None:
    """Close the running event loop's session with all its connections. The next use opens a new one."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a provider."""

    method: Literal["GET", "POST"]
    target: Target
    path: str
    body: bytes | None = None

    async def send(self, session: aiohttp.ClientSession, *, limits: Limits, deadline: float) -> aiohttp.ClientResponse:
        """The response once its headers are here, whatever its status. The caller closes it. Raises ProviderError.

        `deadline` is the event loop's time by which the headers must be here.
        """
        url, headers = address_of(self.target, self.path), _headers_of(self.target)
        timeout = aiohttp.ClientTimeout(connect=limits.connect_seconds)
        try:
            async with asyncio.timeout_at(deadline):
                return await session.request(
                    self.method, url, data=self.body, headers=headers, allow_redirects=False, timeout=timeout
                )
        except (AddressDenied, aiohttp.ClientError, OSError) as error:
            # Not `from error`: aiohttp's errors carry the request's headers, and so the key, into logs.
            raise _failure_of(error, host=host_of(self.target), limits=limits) from None


def is_compressed(response: aiohttp.ClientResponse) -> bool:
    """Whether the body is compressed although we asked for it plain; it is not unpacked, so nobody can read it."""
    return response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity")


def compressed(host: str) -> ProviderNonsense:
    return ProviderNonsense(
        f"{host} compressed its answer although it was asked not to. Staff should switch that off there, or on the"
        " proxy before it."
    )


async def read(response: aiohttp.ClientResponse, *, deadline: float) -> bytes:
    """The next bytes of the body, b"" at its end. Raises TimeoutError at `deadline`, ConnectionLost."""
    try:
        # What is here already needs neither a clock nor a turn of the loop.
        if waiting := response.content.read_nowait():
            return waiting
        async with asyncio.timeout_at(deadline):
            return await response.content.readany()
    except TimeoutError:
        raise
    except (aiohttp.ClientError, OSError, RuntimeError) as error:
        # RuntimeError: aiohttp's word for a connection that was closed on our side, as at shutdown.
        if rest := _received_before_the_loss(response):
            return rest
        raise ConnectionLost from error


def _received_before_the_loss(response: aiohttp.ClientResponse) -> bytes:
    # aiohttp raises at once and keeps to itself what had come while nobody was reading, yet people are owed that text.
    waiting = response.content._buffer
    rest = b"".join(waiting)
    waiting.clear()
    return rest


async def rest(response: aiohttp.ClientResponse, *, seconds: float) -> None:
    """Leave the connection alone for a while: what arrives comes together in the kernel, for one read, not many."""
    transport = response.connection.transport if response.connection else None
    if transport is None or transport.is_closing() or not transport.is_reading():
        # Where aiohttp itself has stopped reading, it is not for us to make it go on.
        await asyncio.sleep(seconds)
        return
    transport.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


async def read_all(response: aiohttp.ClientResponse, *, max_bytes: int, deadline: float) -> tuple[bytes, bool]:
    """The body up to `max_bytes`, and whether that is all of it. Raises TimeoutError, ConnectionLost."""
    body = bytearray()
    while chunk := await read(response, deadline=deadline):
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), False
    return bytes(body), True


def host_of(target: Target) -> str:
    """The provider's host as people know it, with the port if it is not the usual one."""
    return target.base_url.partition("://")[2].partition("/")[0].partition("?")[0]


def address_of(target: Target, path: str) -> URL:
    """The URL of `path` below the target's base URL, whose query (Azure has one) is kept. Raises ProviderRejected."""
    try:
        parts = STAFF_POLICY.check_url(target.base_url)
    except AddressDenied as error:
        raise _denied(error) from error
    return URL(parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl())


def _headers_of(target: Target) -> dict[str, str]:
    # No compression: it would hold tokens back, and a small body could swell without limit.
    headers = {"User-Agent": "Parley", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    key = target.api_key.strip()
    if not key.isascii() or not key.isprintable():
        raise ProviderRefused("The API key has characters no key has. Staff must enter it again.")
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def _denied(error: AddressDenied) -> ProviderRejected:
    return ProviderRejected(f"The provider's base URL cannot be used: {error} Staff must correct it in the admin.")


def _failure_of(error: Exception, *, host: str, limits: Limits) -> ProviderError:
    """What a failed attempt to get the headers of an answer means to a person."""
    match error:
        case AddressDenied():
            return _denied(error)
        case aiohttp.ServerTimeoutError():
            seconds = f"{limits.connect_seconds:g} seconds"
            return ProviderUnreachable(f"{host} did not accept a connection within {seconds}. Try again in a moment.")
        case TimeoutError():
            return no_first_token(host, limits)
        case aiohttp.ClientConnectorDNSError():
            return ProviderUnreachable(f"The name {host} could not be found. Check the base URL and the network.")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return ProviderUnreachable(
                f"No secure connection to {host}: its certificate or its TLS is not acceptable. Staff should check"
                " the base URL and the certificate.",
                detail=str(error)[:300],
            )
        case aiohttp.ClientConnectorError():
            return ProviderUnreachable(f"{host} refused the connection. Check that it is running, then try again.")
        case aiohttp.ClientResponseError():
            return ProviderNonsense(f"{host} does not speak HTTP as it should. Staff should check the base URL.")
        case _:
            return ProviderUnreachable(f"{host} closed the connection before it answered. Try again.")


def no_first_token(host: str, limits: Limits) -> ProviderTimeout:
    seconds = f"{limits.first_token_seconds:g} seconds"
    return ProviderTimeout(f"{host} sent no text within {seconds}. Try again, or choose another model.")
