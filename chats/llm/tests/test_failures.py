"""Every failure of a provider is one of a few errors: what happened, its own words, what to do, never the key."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from chats.llm import errors
from chats.llm.registry import open_stream
from chats.llm.tests.conftest import HELLO, Ask, outcome_of
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.llm.values import ChatMessage, ChatRequest, Limits, Target

KEY = "sk-canary-0123456789"
JSON = {"Content-Type": "application/json"}
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    ("status", "kind", "is_retryable"),
    [
        (302, errors.ProviderRejected, False),
        (307, errors.ProviderRejected, False),
        (400, errors.ProviderRejected, False),
        (401, errors.ProviderRefused, False),
        (402, errors.ProviderRefused, False),
        (403, errors.ProviderRefused, False),
        (404, errors.ProviderRejected, False),
        (408, errors.ProviderBroken, True),
        (413, errors.ProviderRejected, False),
        (422, errors.ProviderRejected, False),
        (429, errors.ProviderBusy, True),
        (500, errors.ProviderBroken, True),
        (502, errors.ProviderBroken, True),
        (503, errors.ProviderBusy, True),
        (529, errors.ProviderBusy, True),
        (204, errors.ProviderNonsense, False),
        (299, errors.ProviderNonsense, False),
    ],
)
async def test_a_status_becomes_an_error_that_names_it(
    ask: Ask, status: int, kind: type[errors.ProviderError], is_retryable: bool
) -> None:
    body = b"" if status == 204 else None
    error = (await ask(Script(status=status, body=body, headers={"Location": "http://other.example/v1"}))).error
    assert type(error) is kind
    assert error.is_retryable is is_retryable
    assert f"status {status}" in error.message
    assert error.message.endswith(".")


async def test_a_redirect_is_not_followed_and_says_where_it_leads(ask: Ask, fake_provider: FakeProvider) -> None:
    outcome = await ask(Script(status=308, headers={"Location": fake_provider.base_url}))
    assert outcome.error.detail == fake_provider.base_url
    assert len(fake_provider.requests) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "The model `x` does not exist"}}, "The model `x` does not exist"),
        ({"error": "plain words"}, "plain words"),
        ({"detail": "Not here"}, "Not here"),
        ({"object": "error", "message": "Too long"}, "Too long"),
        ({"error": {"code": "bad_thing"}}, "bad_thing"),
        ({"error": {"message": ["odd"]}}, ""),
        (b'[{"error": {"message": "In a list"}}]', "In a list"),
        (b"[]", "[]"),
        (b"<html><style>p {}</style><title>502</title><p>Bad &amp; gone</p>", "502 Bad & gone"),
        (b"plain text\n  in lines", "plain text in lines"),
        (b'{"error": {"message": "nul \\u0000 half \\ud800"}}', "nul \ufffd half \ufffd"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
async def test_the_providers_own_words_are_quoted(ask: Ask, body: Any, words: str) -> None:
    error = (await ask(Script(status=400, body=body))).error
    assert error.detail == words
    assert words in error.message


async def test_long_words_are_cut(ask: Ask) -> None:
    error = (await ask(Script(status=500, body={"error": {"message": "blah " * 10_000}}))).error
    assert len(error.detail) == 300
    assert error.detail.endswith("…")


async def test_the_key_is_never_repeated(fake_provider: FakeProvider, target: Target) -> None:
    fake_provider.script("leaky", Script(status=401, body={"error": {"message": f"Wrong key {KEY} given"}}))
    outcome = await outcome_of(replace(target, model_id="leaky", api_key=KEY))
    assert "Wrong key … given" in outcome.error.message
    assert KEY not in repr(outcome) + repr(target) + outcome.error.message


async def test_a_key_goes_to_the_provider_and_a_missing_one_is_refused(
    fake_provider: FakeProvider, target: Target
) -> None:
    fake_provider.require_key(KEY)
    assert type((await outcome_of(target)).error) is errors.ProviderRefused
    assert (await outcome_of(replace(target, api_key=f" {KEY}\n"))).finish == "stop"
    assert "authorization" not in fake_provider.requests[0].headers


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "nul\x00"])
async def test_a_key_that_no_header_carries_is_refused(target: Target, fake_provider: FakeProvider, key: str) -> None:
    outcome = await outcome_of(replace(target, api_key=key))
    assert type(outcome.error) is errors.ProviderRefused
    assert not fake_provider.requests


async def test_a_used_up_quota_is_no_rate_limit(ask: Ask) -> None:
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    assert type((await ask(Script(status=429, body=body))).error) is errors.ProviderRefused


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 1.5 ", 1.5),
        ("0", 0),
        ("999999999", 86_400),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
    ],
)
async def test_retry_after_in_seconds(ask: Ask, header: str, seconds: float | None) -> None:
    error = (await ask(Script(status=429, headers={"Retry-After": header}))).error
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(("minutes", "low", "high"), [(5, 280, 300), (-5, 0, 0)])
@pytest.mark.parametrize("usegmt", [True, False])
async def test_retry_after_as_a_date(ask: Ask, minutes: int, low: float, high: float, usegmt: bool) -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=usegmt)
    error = (await ask(Script(status=503, headers={"Retry-After": header}))).error
    assert low <= error.retry_after_seconds <= high


async def test_a_date_without_a_zone_is_utc(ask: Ask) -> None:
    error = (await ask(Script(status=503, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 -0000"}))).error
    assert error.retry_after_seconds == 86_400


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "<!doctype html>"])
async def test_a_web_page_is_nonsense(ask: Ask, body: str) -> None:
    error = (await ask(Script(body=body))).error
    assert type(error) is errors.ProviderNonsense
    assert "web page" in error.message


@pytest.mark.parametrize("body", [{"hello": 1}, {"choices": []}])
async def test_json_that_is_no_answer_is_nonsense(ask: Ask, body: dict) -> None:
    assert type((await ask(Script(body=body))).error) is errors.ProviderNonsense


async def test_text_that_is_no_stream_is_nonsense(ask: Ask) -> None:
    error = (await ask(Script(body=b"Hello?", headers={"Content-Type": "text/plain"}))).error
    assert type(error) is errors.ProviderNonsense


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {broken\n\n",
        b"data: 7\n\n",
        b"data: [1]\n\n",
        b"data: \xff\n\n",
        b'data: {"a":\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"id": ' + b"9" * 5_000 + b"}\n\n",
        b"{broken\n",
    ],
)
async def test_garbage_in_the_stream_is_nonsense_and_keeps_the_text(ask: Ask, garbage: bytes) -> None:
    outcome = await ask(Script(text="one two three", garbage_after=2, garbage=garbage))
    assert outcome.text == "one two"
    assert type(outcome.error) is errors.ProviderNonsense
    assert outcome.finish is None


async def test_a_line_without_end_is_nonsense(ask: Ask, fake_provider: FakeProvider) -> None:
    outcome = await ask(Script(raw=[b"data: " + b"x" * 60_000] * 50), line_max_bytes=100_000)
    assert type(outcome.error) is errors.ProviderNonsense
    assert "100,000 bytes" in outcome.error.message


async def test_an_event_without_end_is_nonsense(ask: Ask) -> None:
    outcome = await ask(Script(raw=[b"data: " + b"x" * 1_000 + b"\n"] * 200), line_max_bytes=100_000)
    assert type(outcome.error) is errors.ProviderNonsense


async def test_a_whole_answer_that_is_too_large_is_nonsense(ask: Ask) -> None:
    body = {"choices": [{"message": {"content": "x" * 200_000}}]}
    assert type((await ask(Script(body=body), line_max_bytes=100_000)).error) is errors.ProviderNonsense


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "code": 429}, errors.ProviderBusy),
        ({"message": "slow down", "code": "429"}, errors.ProviderBusy),
        ({"message": "slow down", "type": "rate_limit_exceeded"}, errors.ProviderBusy),
        ({"message": "full", "type": "overloaded_error"}, errors.ProviderBusy),
        ({"message": "who?", "code": "invalid_api_key"}, errors.ProviderRefused),
        ({"message": "too long", "code": "context_length_exceeded"}, errors.ProviderRejected),
        ({"message": "broken", "code": "odd", "type": None}, errors.ProviderBroken),
        ({"message": "broken", "code": 7}, errors.ProviderBroken),
        ({}, errors.StreamCut),
    ],
)
async def test_an_error_inside_the_stream_is_the_right_one(
    ask: Ask, error: dict, kind: type[errors.ProviderError]
) -> None:
    outcome = await ask(Script(text="one two", error_after=1, error=error, drop_after=1))
    assert outcome.text == "one"
    assert type(outcome.error) is kind


@pytest.mark.parametrize(
    "line",
    [
        b'data: {"error": "It broke"}\n\n',
        b'data: {"object": "error", "message": "It broke", "code": 500}\n\n',
        b'{"error": {"message": "It broke"}}\n',
        b'event: error\ndata: {"error": {"message": "It broke"}}\n\n',
    ],
)
async def test_errors_come_in_many_forms(ask: Ask, line: bytes) -> None:
    error = (await ask(Script(raw=[line]))).error
    assert type(error) is errors.ProviderBroken
    assert error.detail == "It broke"


async def test_usage_said_before_a_failure_is_reported(ask: Ask) -> None:
    outcome = await ask(Script(text="one two three", usage="every", drop_after=2))
    assert type(outcome.error) is errors.StreamCut
    assert outcome.usage.input_tokens == 1


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(drop_before=True), errors.ProviderUnreachable),
        (Script(drop_after=0), errors.ProviderUnreachable),
        (Script(drop_after=1), errors.StreamCut),
        (Script(reasoning=["Hm"], drop_after=0), errors.StreamCut),
        (Script(text="", tool_calls=[("f", "{}")], finish_reason=None, has_done=False), errors.StreamCut),
        (Script(text="one", finish_reason=None, has_done=False), errors.StreamCut),
        (Script(text="", finish_reason=None, has_done=False), errors.ProviderUnreachable),
        (Script(raw=[]), errors.ProviderUnreachable),
        (Script(raw=[b'data: {"choi']), errors.ProviderUnreachable),
        (
            Script(
                chunks=["a"], garbage_after=1, garbage=b'data: {"choi', finish_reason=None, usage=None, has_done=False
            ),
            errors.StreamCut,
        ),
        (
            Script(raw=[b'{"cho', b""], headers={"Content-Type": "application/json"}, drop_after=1),
            errors.ProviderUnreachable,
        ),
    ],
)
async def test_a_broken_connection_is_told_apart_by_whether_the_answer_had_begun(
    ask: Ask, script: Script, kind: type[errors.ProviderError]
) -> None:
    assert type((await ask(script)).error) is kind


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, but nobody listens
        yield held.getsockname()[1]


async def test_a_refused_connection(closed_port: int, target: Target) -> None:
    outcome = await outcome_of(replace(target, base_url=f"http://127.0.0.1:{closed_port}/v1"))
    assert type(outcome.error) is errors.ProviderUnreachable
    assert "refused the connection" in outcome.error.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a." * 150 + "invalid"])
async def test_a_name_that_does_not_exist(target: Target, host: str) -> None:
    outcome = await outcome_of(replace(target, base_url=f"http://{host}/v1"))
    assert type(outcome.error) is errors.ProviderUnreachable
    assert "could not be found" in outcome.error.message


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("has_tls", [True, False])
async def test_a_server_without_trustworthy_tls(target: Target, tmp_path: Path, has_tls: bool) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is not TLS\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=self_signed(tmp_path) if has_tls else None)
    async with server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        outcome = await outcome_of(replace(target, base_url=address))
    assert type(outcome.error) is errors.ProviderUnreachable
    assert "secure connection" in outcome.error.message


async def test_a_server_that_does_not_speak_http(ask: Ask) -> None:
    error = (await ask(Script(status=500, body=b"x", headers={"Broken header\x01": "x"}))).error
    assert type(error) is errors.ProviderNonsense


async def test_a_connection_that_nobody_accepts(target: Target) -> None:
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):  # they fill the queue, so that the kernel answers nobody else
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        outcome = await outcome_of(replace(target, base_url=address), limits=Limits(connect_seconds=0.05))
    assert type(outcome.error) is errors.ProviderUnreachable
    assert "0.05 seconds" in outcome.error.message


async def test_settings_that_are_no_json_are_rejected(target: Target, fake_provider: FakeProvider) -> None:
    outcome = await outcome_of(target, ChatRequest([ChatMessage("user", "hi")], {"seed": 2**70}))
    assert type(outcome.error) is errors.ProviderRejected
    assert not fake_provider.requests


def test_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(errors.ProviderRejected, match="telepathy"):
        open_stream(Target("telepathy", "", "", ""), HELLO, Limits())


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = errors.ProviderError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 8
