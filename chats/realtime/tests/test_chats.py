"""What a list of chats hears: which are answering, what they are called, which are gone. Of nobody else's chats."""

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from django.db.backends.utils import CursorWrapper

from accounts.services import create_api_key, revoke_api_key
from chats.llm.tests.fake_provider import Script
from chats.models import Chat, Reply
from chats.realtime import news
from chats.replies.services import start_reply, stop_reply
from chats.replies.tests.stage import calling, waiting
from chats.services import create_chat, delete_chat, restore_chat, update_chat
from config.tests.sockets import ChatSocket
from config.tests.sockets import open_socket as open_socket_at
from config.tests.threads import in_thread


@pytest.fixture
def chat(live, owner):
    return create_chat(owner, title="Tides")


@pytest.fixture
def gate(fake_provider, openai_model):
    """The fake model answers once this is set."""
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="Here.", gate=gate))
    yield gate
    gate.set()


async def watch(socket: ChatSocket) -> set[str]:
    await socket.send("chats.watch")
    return set((await socket.receive_until("chats.watched"))[-1]["answering"])


async def hear(socket: ChatSocket, *, seconds: float = 10, **wanted: object) -> dict:
    """The first `chat.changed` that says so."""
    async with asyncio.timeout(seconds):
        while True:
            event = await socket.receive()
            if event["type"] == "chat.changed" and wanted.items() <= event["chat"].items():
                return event["chat"]


async def test_a_list_hears_when_an_answer_begins_and_ends(owner, chat, gate, open_socket):
    other = await in_thread(create_chat, owner)
    async with await open_socket(owner, None) as home, await open_socket(owner, other) as elsewhere:
        assert await watch(home) == await watch(elsewhere) == set()
        await in_thread(start_reply, owner, chat_id=chat.pk, content="Why?", model="fake-1")
        for socket in (home, elsewhere):
            begun = await hear(socket, id=str(chat.pk), is_answering=True)
            assert begun["title"] == "Tides"
        gate.set()
        for socket in (home, elsewhere):
            ended = await hear(socket, id=str(chat.pk), is_answering=False)
            assert ended["updated_at"] > begun["updated_at"]


async def test_who_comes_later_is_told_what_is_answering(owner, chat, gate, open_socket):
    await in_thread(start_reply, owner, chat_id=chat.pk, content="Why?", model="fake-1")
    async with await open_socket(owner, None) as socket:
        assert await watch(socket) == {str(chat.pk)}
        gate.set()
        await hear(socket, id=str(chat.pk), is_answering=False)
        assert await watch(socket) == set()


async def test_a_list_hears_which_answers_wait_for_approval(stage, open_socket):
    stage.model_does(calling(("fake__send_mail", {"to": "a"})), Script(text="Out."))
    async with await open_socket(stage.owner, None) as early:
        await watch(early)
        started = await in_thread(stage.ask)
        pk = str(started.chat.pk)
        await hear(early, id=pk, is_answering=True, is_waiting=True)
        async with await open_socket(stage.owner, None) as late:
            await late.send("chats.watch")
            told = (await late.receive_until("chats.watched"))[-1]
            assert (told["answering"], told["waiting"]) == ([pk], [pk])
        (call,) = await in_thread(waiting, started.reply)
        await in_thread(stage.decide, call)
        await hear(early, id=pk, is_answering=False, is_waiting=False)


async def test_a_stopped_answer_is_not_answering(owner, chat, gate, open_socket):
    started = await in_thread(start_reply, owner, chat_id=chat.pk, content="Why?", model="fake-1")
    async with await open_socket(owner, None) as socket:
        await watch(socket)
        await in_thread(stop_reply, started.reply)
        await hear(socket, id=str(chat.pk), is_answering=False)


async def test_a_list_hears_of_new_renamed_deleted_and_restored_chats(owner, chat, open_socket):
    async with await open_socket(owner, None) as socket:
        await watch(socket)
        new = await in_thread(create_chat, owner, title="New")
        await hear(socket, id=str(new.pk), title="New")
        await in_thread(update_chat, chat, title="Ebb and flow", pinned=True)
        await hear(socket, id=str(chat.pk), title="Ebb and flow", pinned=True)
        await in_thread(delete_chat, chat)
        assert (await socket.receive_until("chat.deleted"))[-1]["chat"] == str(chat.pk)
        await in_thread(restore_chat, owner, chat.pk)
        await hear(socket, id=str(chat.pk))


async def test_nobody_hears_of_the_chats_of_others(owner, stranger, chat, demo_model, open_socket):
    async with await open_socket(stranger, None) as theirs, await open_socket(owner, None) as ours:
        await watch(theirs)
        await watch(ours)
        await in_thread(start_reply, owner, chat_id=chat.pk, content="help")
        await in_thread(update_chat, chat, title="Secret")
        await hear(ours, title="Secret")
        mine = await in_thread(create_chat, stranger, title="Mine")
        async with asyncio.timeout(10):
            assert (await theirs.receive())["chat"]["id"] == str(mine.pk)


async def test_a_socket_that_does_not_watch_hears_of_its_own_chat_only(owner, chat, open_socket):
    other = await in_thread(create_chat, owner)
    async with await open_socket(owner, other) as socket:
        await in_thread(update_chat, chat, title="Unheard")
        await in_thread(update_chat, other, title="Heard")
        assert (await socket.receive())["chat"]["title"] == "Heard"


@pytest.fixture
def statements(monkeypatch):
    """What this process says to its database. Django's own count is of one connection, and each thread has its own."""
    said = []
    execute = CursorWrapper.execute

    def note(cursor, sql, params=None):
        said.append(sql)
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", note)
    return said


async def test_twenty_tabs_are_one_question_to_the_database(owner, chat, open_socket, settings, statements):
    async with AsyncExitStack() as tabs:
        sockets = [await tabs.enter_async_context(await open_socket(owner, None)) for _ in range(20)]
        for socket in sockets:
            await watch(socket)
        statements.clear()
        await in_thread(update_chat, chat, title="Once")
        for socket in sockets:
            await hear(socket, title="Once")
    asked = [sql for sql in statements if 'AS "is_answering"' in sql]
    # A node with Redis hears its own rings as well.
    assert 1 <= len(asked) <= 1 + settings.IS_CLUSTER


async def test_whoever_watches_is_told_how_the_own_chat_stands(owner, chat, open_socket):
    async with await open_socket(owner, chat) as socket:
        # The page was made before, and nobody told it.
        await in_thread(Chat.objects.filter(pk=chat.pk).update, title="Since then")
        assert await watch(socket) == set()
        told = await socket.receive()
        assert (told["type"], told["chat"]["title"]) == ("chat.changed", "Since then")


async def test_a_lost_ring_is_made_up_for(owner, chat, open_socket, monkeypatch):
    monkeypatch.setattr(news, "RECHECK_SECONDS", 0.1)
    async with await open_socket(owner, None) as socket:
        await watch(socket)
        # As another node would write it, whose rings nobody carries.
        reply = await in_thread(Reply.objects.create, chat=chat, user=owner, status=Reply.Status.WAITING)
        await hear(socket, id=str(chat.pk), is_answering=True)
        await in_thread(Reply.objects.filter(pk=reply.pk).update, status=Reply.Status.STOPPED)
        await hear(socket, id=str(chat.pk), is_answering=False)


async def test_the_list_has_no_chat_to_send_to(owner, open_socket):
    async with await open_socket(owner, None) as socket:
        await socket.send("message.send", content="Hello?")
        assert (await socket.receive())["error"]["code"] == "invalid"
    assert not await in_thread(Chat.objects.exists)


async def test_who_is_shut_out_hears_nothing_more(live, owner, open_socket, settings):
    settings.SOCKET_RECHECK_SECONDS = 0.1
    key, secret = await in_thread(create_api_key, owner, name="t")
    async with open_socket_at(live.ws_url, None, api_key=secret) as socket:
        await watch(socket)
        await in_thread(revoke_api_key, key)
        assert await socket.close_code() == 4401


async def test_the_list_counts_as_a_socket(owner, open_socket, settings):
    settings.SOCKETS_PER_USER = 1
    async with await open_socket(owner, None):
        with pytest.raises(Exception, match="429"):
            async with await open_socket(owner, None):
                pass
