"""Who may open a socket, and when it is closed again."""

import asyncio
import urllib.request
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from accounts.services import create_api_key, revoke_api_key
from chats.llm.tests.fake_provider import Script
from chats.replies.services import start_reply
from chats.services import create_chat, delete_chat
from chats.usage.models import UsageRecord
from config.tests.live import wait_until
from config.tests.sockets import open_socket as open_socket_at
from config.tests.threads import in_thread

HANDSHAKE = [
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


@pytest.fixture
def chat(live, owner):
    return create_chat(owner)


@pytest.fixture
def quick_recheck(settings):
    settings.SOCKET_RECHECK_SECONDS = 0.1


async def _refusal(socket) -> Response:
    with pytest.raises(InvalidStatus) as refusal:
        async with socket:
            pass
    return refusal.value.response


async def _refused_with(socket) -> int:
    return (await _refusal(socket)).status_code


async def _status_of(socket) -> int:
    try:
        async with socket as opened:
            return opened.connection.response.status_code
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def test_nobody_unknown_gets_in(live, chat):
    assert await _refused_with(open_socket_at(live.ws_url, chat.pk)) == 401
    assert await _refused_with(open_socket_at(live.ws_url, chat.pk, session="x" * 32)) == 401
    assert await _refused_with(open_socket_at(live.ws_url, chat.pk, api_key="parley_wrong")) == 401
    assert await _refused_with(open_socket_at(live.ws_url, chat.pk, api_key="é" * 5000)) == 401


async def test_a_foreign_a_deleted_and_a_missing_chat_look_alike(live, chat, owner, stranger, open_socket):
    assert await _refused_with(await open_socket(stranger, chat)) == 404
    assert await _refused_with(await open_socket(owner, "018f0000-0000-7000-8000-000000000000")) == 404
    await in_thread(delete_chat, chat)
    assert await _refused_with(await open_socket(owner, chat)) == 404
    assert await _refused_with(await open_socket(owner, "not-an-id")) == 404


@pytest.mark.parametrize(
    "origin",
    [
        "http://[",
        "http://[::1",
        "://",
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://127.0.0.1.evil.example",
    ],
)
async def test_a_page_of_another_site_gets_no_socket(owner, chat, open_socket, origin):
    assert await _refused_with(await open_socket(owner, chat, origin=origin)) == 403


async def test_a_page_of_this_host_needs_a_scheme_of_ours(live, owner, chat, open_socket, settings):
    host = urlsplit(live.base_url).netloc
    assert await _status_of(await open_socket(owner, chat, origin=f"https://{host}")) == 101
    assert await _refused_with(await open_socket(owner, chat, origin=f"chrome-extension://{host}")) == 403
    settings.SESSION_COOKIE_SECURE = True
    assert await _refused_with(await open_socket(owner, chat, origin=f"http://{host}")) == 403


async def test_a_configured_frontend_may_open_sockets(owner, chat, open_socket, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example.org"]
    async with await open_socket(owner, chat, origin="https://chat.example.org") as socket:
        assert socket.connection.response.status_code == 101


async def test_a_host_name_that_is_not_ours_is_refused(owner, chat, open_socket, settings):
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    assert await _refused_with(await open_socket(owner, chat)) == 403


async def test_an_api_key_opens_a_socket_by_header_and_by_subprotocol(live, owner, chat):
    _, secret = await in_thread(create_api_key, owner, name="t")
    async with open_socket_at(live.ws_url, chat.pk, api_key=secret) as socket:
        await socket.send("nonsense")
        assert (await socket.receive())["type"] == "error"
    async with open_socket_at(live.ws_url, chat.pk, subprotocols=["parley", f"bearer.{secret}"]) as socket:
        assert socket.connection.subprotocol == "parley"


async def test_open_sockets_are_limited_for_each_person(owner, chat, open_socket, settings):
    settings.SOCKETS_PER_USER = 1
    async with await open_socket(owner, chat):
        refusal = await _refusal(await open_socket(owner, chat))
        assert (refusal.status_code, refusal.headers["Retry-After"]) == (429, "30")
    async with await open_socket(owner, chat):
        pass


async def test_event_streams_count_as_sockets(live, owner, chat, open_socket, settings):
    settings.SOCKETS_PER_USER = 1
    _, secret = await in_thread(create_api_key, owner, name="t")
    started = await in_thread(start_reply, owner, chat_id=chat.pk, content="long answer")
    path = f"/api/v1/replies/{started.reply.pk}/events/"
    request = urllib.request.Request(live.base_url + path, headers={"Authorization": f"Bearer {secret}"})
    with await in_thread(urllib.request.urlopen, request, timeout=10):
        assert await _refused_with(await open_socket(owner, chat)) == 429


async def test_clients_that_go_before_they_are_let_in_take_up_no_place(live, owner, chat, open_socket, settings):
    settings.SOCKETS_PER_USER = 1
    _, secret = await in_thread(create_api_key, owner, name="t")
    key = f"Authorization: Bearer {secret}"
    lines = [f"GET /ws/chats/{chat.pk}/ HTTP/1.1", *HANDSHAKE, key, "", ""]
    address = urlsplit(live.base_url)
    for _ in range(20):
        _, leaving = await asyncio.open_connection(address.hostname, address.port)
        leaving.write("\r\n".join(lines).encode())
        leaving.transport.abort()
    async with asyncio.timeout(5):
        while await _status_of(await open_socket(owner, chat)) != 101:
            pass


@pytest.mark.usefixtures("quick_recheck")
async def test_what_is_revoked_is_shut_out_of_open_sockets(live, owner, chat, open_socket):
    key, secret = await in_thread(create_api_key, owner, name="t")
    with_key = open_socket_at(live.ws_url, chat.pk, api_key=secret)
    async with with_key as by_key, await open_socket(owner, chat) as by_session:
        await in_thread(revoke_api_key, key)
        assert await by_key.close_code() == 4401
        owner.is_active = False
        await in_thread(owner.save)
        assert await by_session.close_code() == 4401


@pytest.mark.usefixtures("openai_model", "quick_recheck")
async def test_deleting_a_person_ends_the_reply_and_closes_the_sockets(owner, chat, fake_provider, open_socket):
    fake_provider.script("fake-1", Script(text="word " * 500, tokens_per_second=20))
    started = await in_thread(start_reply, owner, chat_id=chat.pk, content="Count", model="fake-1")
    async with await open_socket(owner, chat) as socket:
        await socket.send("reply.follow", reply=str(started.reply.pk), after=0)
        await socket.receive_until("text.delta")
        await in_thread(owner.delete)
        assert await socket.close_code() == 4401
    assert await asyncio.to_thread(fake_provider.wait_closed, timeout=5)
    booked = UsageRecord.objects.filter(user_email=owner.email, user=None, reply=None, output_tokens__gt=0)
    is_booked = booked.exists
    await in_thread(wait_until, is_booked, seconds=5, what="what was spent is in the ledger")


async def test_a_deleted_chat_tells_nothing_more(owner, chat, demo_model, open_socket):
    started = await in_thread(start_reply, owner, chat_id=chat.pk, content="help")
    async with await open_socket(owner, chat) as socket:
        await in_thread(delete_chat, chat)
        await socket.send("reply.follow", reply=str(started.reply.pk), after=0)
        error = (await socket.receive_until("error"))[-1]
    assert error["error"]["code"] == "not_found"
