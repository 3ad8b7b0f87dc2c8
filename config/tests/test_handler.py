"""How requests reach Django and answers leave: bodies, streams, and clients that go away."""

import http.client
import json
import socket
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from accounts.services import create_api_key
from chats.llm.tests.fake_provider import Script
from chats.replies.services import start_reply
from config.tests.live import wait_until


@pytest.fixture
def headers(live, owner) -> dict[str, str]:
    _, secret = create_api_key(owner, name="t")
    return {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}


def _ask(live, method, path, *, body=None, headers=None):
    connection = http.client.HTTPConnection(urlsplit(live.base_url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_a_body_over_the_limit_is_told_so_and_not_a_broken_connection(live, headers):
    for path in ("/api/v1/chats/", "/api/v1/keys/", "/api/v1/chat/"):
        status, _, body = _ask(live, "POST", path, body=b'{"title": "' + b"x" * 2_000_000 + b'"}', headers=headers)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_a_body_over_the_limit_sent_in_chunks_is_told_so_too(live, headers):
    chunks = (b"x" * 100_000 for _ in range(20))
    status, _, body = _ask(live, "POST", "/api/v1/chats/", body=chunks, headers=headers)
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_a_body_sent_in_chunks_is_read(live, headers):
    chunks = (part for part in (b'{"title": ', b'"In pieces"}'))
    status, _, body = _ask(live, "POST", "/api/v1/chats/", body=chunks, headers=headers)
    assert (status, json.loads(body)["title"]) == (201, "In pieces")


def test_only_people_who_are_known_put_large_bodies_on_the_disk(live, headers):
    """Three send half of a file and wait: the one whose key is right has it on the disk, the others nothing."""
    form = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(8_000_000)}
    with ExitStack() as stack:
        waiting = []
        for shown in ({}, {"Authorization": "Bearer parley_wrong"}, {"Authorization": headers["Authorization"]}):
            connection = stack.enter_context(
                closing(http.client.HTTPConnection(urlsplit(live.base_url).netloc, timeout=10))
            )
            connection.putrequest("POST", "/api/v1/documents/")
            for name, value in (form | shown).items():
                connection.putheader(name, value)
            connection.endheaders(b"x" * 4_000_000)
            waiting.append(connection)
        wait_until(bodies_on_the_disk, seconds=10, what="the body is on the disk")
        assert len(bodies_on_the_disk()) == 1
        for connection, expected in zip(waiting, (401, 401, 400), strict=True):
            connection.send(b"x" * 4_000_000)
            assert connection.getresponse().status == expected


def bodies_on_the_disk():
    """Large files of x that this process holds open and no directory names; captured output, for one, is others."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if "(deleted)" in str(link.readlink()) and link.stat().st_size > 1_000_000:
                with link.open("rb") as body:
                    if body.read(1000) == b"x" * 1000:
                        found.append(link)
    return found


def test_an_oversized_form_gets_a_page(live):
    _, found, _ = _ask(live, "GET", "/accounts/login/")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": found["Set-Cookie"].partition(";")[0]}
    status, found, body = _ask(live, "POST", "/accounts/login/", body=b"email=" + b"x" * 2_000_000, headers=headers)
    assert (status, found["Content-Type"].partition(";")[0]) == (413, "text/html")
    assert b"too much at once" in body


@pytest.mark.parametrize(
    "path", ["/api/v1/health/%ff%fe", "/%00", "/chats/%F0%9F%98%80/", "/static/../../etc/passwd", "//", "/static/%00"]
)
def test_odd_addresses_are_answered_without_a_fault(live, path):
    status, _, _ = _ask(live, "GET", path)
    assert status < 500


def test_a_query_that_is_not_text_is_a_bad_request(live):
    with socket.create_connection(urlsplit(live.base_url).netloc.split(":"), timeout=10) as raw:
        raw.sendall(b"GET /api/v1/health/?q=\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = int(raw.makefile("rb").readline().split()[1])
    assert 200 <= status < 500


def test_cookies_and_security_headers_survive_the_way_out(live):
    status, found, _ = _ask(live, "GET", "/accounts/login/")
    assert status == 200
    assert "csrftoken" in found["Set-Cookie"]
    assert "default-src 'self'" in found["Content-Security-Policy"]
    assert found["X-Frame-Options"] == "DENY"


def test_a_stream_of_events_is_sent_as_it_grows_and_ends_with_the_reply(
    live, owner, headers, openai_model, fake_provider
):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="one two three", gate=gate, gate_after=1))
    started = start_reply(owner, content="Count")
    connection = http.client.HTTPConnection(urlsplit(live.base_url).netloc, timeout=10)
    connection.request("GET", f"/api/v1/replies/{started.reply.pk}/events/", headers=headers)
    answer = connection.getresponse()

    lines = []
    while not any("text.delta" in line or '"one"' in line for line in lines):
        lines.append(answer.readline().decode())
    gate.set()
    lines += answer.read().decode().splitlines()
    connection.close()

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events[-1]["type"] == "reply.finished"
    assert events[-1]["message"]["content"] == "one two three"
    ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert ids == [event["seq"] for event in events if "seq" in event]


def test_a_viewer_who_hangs_up_disturbs_neither_the_reply_nor_the_server(
    live, owner, headers, openai_model, fake_provider
):
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="one two three", gate=gate, gate_after=1))
    started = start_reply(owner, content="Count")
    for _ in range(20):
        connection = http.client.HTTPConnection(urlsplit(live.base_url).netloc, timeout=10)
        connection.request("GET", f"/api/v1/replies/{started.reply.pk}/events/", headers=headers)
        connection.getresponse().readline()
        connection.close()
    gate.set()
    path = f"/api/v1/replies/{started.reply.pk}/"
    wait_until(
        lambda: json.loads(_ask(live, "GET", path, headers=headers)[2])["status"] == "completed",
        seconds=5,
        what="the reply is completed",
    )


def test_a_request_that_is_never_finished_holds_up_nobody(live, headers):
    address = urlsplit(live.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as slow:
        slow.sendall(b"POST /api/v1/chats/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert _ask(live, "GET", "/api/v1/health/")[0] == 200


def _first_line_after(live, *pieces: bytes) -> bytes:
    """What the server says first to a client that sends `pieces` and then waits."""
    address = urlsplit(live.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as raw:
        for piece in pieces:
            raw.sendall(piece)
        return raw.makefile("rb").readline()


def test_a_head_without_end_is_refused(live):
    assert b"431" in _first_line_after(live, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 100_000)


UPGRADE = b"GET /ws/chats/1/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HANDSHAKES = {
    "a long line": (UPGRADE + KEY + b"Authorization: Bearer " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
    "many lines": (UPGRADE + KEY + b"X: 1\r\n" * 200 + b"\r\n", b"431"),
    "a long address": (b"GET /" + b"x" * 10_000 + UPGRADE.removeprefix(b"GET /") + KEY + b"\r\n", b"414"),
    "a body": (UPGRADE + KEY + b"Content-Length: 5\r\n\r\nhello", b"400"),
    "a body in chunks": (UPGRADE + KEY + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    "no key": (UPGRADE + b"\r\n", b"400"),
}


@pytest.mark.parametrize(("head", "status"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_handshake_that_cannot_be_read_is_refused_and_the_connection_closed(live, head, status):
    address = urlsplit(live.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as raw:
        raw.sendall(head)
        answer = raw.makefile("rb").read()
    assert answer.split()[1] == status


def test_a_head_that_does_not_come_is_not_waited_for(live, monkeypatch):
    monkeypatch.setattr("config.http.HEAD_SECONDS", 0.2)
    assert b"408" in _first_line_after(live, b"GET / HTTP/1.1\r\nHost: loc")
    assert b"408" in _first_line_after(live)


def test_a_body_that_drips_is_not_waited_for(live, monkeypatch):
    monkeypatch.setattr("config.handler.BODY_SECONDS", 0.2)
    head = b"POST /api/v1/chats/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    assert b"408" in _first_line_after(live, head, b"{")


def test_a_large_body_behind_a_small_head_is_read(live, headers):
    body = json.dumps({"title": "Large", "system_prompt": "x" * 90_000}).encode()
    assert _ask(live, "POST", "/api/v1/chats/", body=body, headers=headers)[0] == 201
