"""A provider's address is set by staff and may be private, but nothing else is connected to, measured at the socket."""

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from accounts.outbound import AddressDenied, AddressPolicy
from chats.llm.errors import ProviderRejected
from chats.llm.http import GuardedResolver
from chats.llm.tests.conftest import outcome_of
from chats.llm.tests.fake_provider import FakeProvider
from chats.llm.values import Target


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that this process connects to during the test.

    Not by an audit hook: one that is written in Python stays for the life of the process, and with it CPython 3.11 lets
    threads that start at the same time fail, when coverage traces them.
    """
    seen: list[Any] = []

    def connect(this: socket.socket, address: Any) -> None:
        seen.append(address)
        original(this, address)

    original = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


async def test_connections_are_seen(target: Target, fake_provider: FakeProvider, connects: list[Any]) -> None:
    await outcome_of(target)
    assert len(connects) == 1


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "localhost:11434/v1",
        "ftp://localhost/v1",
        "file:///etc/passwd",
        "http://user:secret@localhost/v1",
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fe80::1%25lo]/",
        "http://2852039166/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://0251.0376.0251.0376/",
        "http://127.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://localhost\\@evil.example/",
        "http://①②⑦.⓪.⓪.①/",
    ],
)
async def test_denied_addresses_are_never_connected_to(target: Target, connects: list[Any], base_url: str) -> None:
    outcome = await outcome_of(replace(target, base_url=base_url))
    assert type(outcome.error) is ProviderRejected
    assert "base URL" in outcome.error.message
    assert "secret" not in outcome.error.message
    assert connects == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
async def test_private_providers_are_welcome(target: Target, fake_provider: FakeProvider, host: str) -> None:
    base_url = fake_provider.base_url.replace("127.0.0.1", host)
    assert (await outcome_of(replace(target, base_url=base_url))).finish == "stop"


async def test_a_name_is_judged_by_what_it_resolves_to() -> None:
    with pytest.raises(AddressDenied, match="localhost leads to a private address"):
        await GuardedResolver(AddressPolicy()).resolve("localhost", 80, socket.AF_UNSPEC)


async def test_a_name_that_leads_to_a_denied_address_is_rejected(
    target: Target, connects: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_args: Any, **_options: Any) -> list[Any]:
        addresses = ["127.0.0.1", "169.254.169.254"]  # one good one does not excuse the other
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    outcome = await outcome_of(replace(target, base_url="http://rebound.example/v1"))
    assert type(outcome.error) is ProviderRejected
    assert "rebound.example leads to a forbidden address" in outcome.error.message
    assert connects == []
