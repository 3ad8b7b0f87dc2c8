"""Asking a model over MCP: its answer, how far it is, and that it stops when nobody waits for it any more."""

import asyncio
import threading

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction

from accounts.services import revoke_api_key
from chats import services
from chats.knowledge.models import Document
from chats.knowledge.services import add_document
from chats.llm.tests.fake_provider import Script
from chats.models import Chat, Message, Reply
from chats.replies.connections import CONNECTIONS, STREAMS
from chats.replies.tests.stage import calling, waiting
from config.tests.live import wait_until
from config.tests.locks import is_waited_for
from config.tests.threads import in_thread


@pytest.fixture
def quick_recheck(settings):
    settings.SOCKET_RECHECK_SECONDS = 0.1


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def the_reply(status):
    """The only reply, once it stands so."""
    wait_until(lambda: Reply.objects.filter(status=status).exists(), seconds=10, what=f"the reply is {status}")
    return Reply.objects.select_related("chat", "message").get()


async def begun(agent, provider, **options):
    """A call of `ask_model` whose answer has begun, as a task."""
    task = asyncio.create_task(agent.call("ask_model", message="Count", model="Fake model", **options))
    await in_thread(provider.wait_requests, 1)
    await in_thread(the_reply, "running")
    return task


async def test_the_answer_comes_with_all_that_belongs_to_it(any_agent, says, owner):
    says(text="one two three")
    answer = await any_agent.found("ask_model", message="Count to three", model="Fake model", system="Be brief")
    chat = await in_thread(Chat.objects.get, pk=answer["chat"])
    assert (chat.user_id, chat.title, chat.system_prompt) == (owner.pk, "Count to three", "Be brief")
    assert (answer["status"], answer["text"], answer["model"]) == ("completed", "one two three", "Fake model")
    assert answer["usage"]["output_tokens"] == 3
    assert float(answer["cost_usd"]) > 0
    assert (answer["error"], answer["waiting_for"], answer["sources"]) == (None, [], [])
    assert answer["page"] == f"/chats/{chat.pk}/"
    again = await any_agent.call("ask_model", message="And on?", chat=answer["chat"])
    assert again.structured_content["chat"] == answer["chat"]
    assert again.content[0].text == f"one two three\n\n(chat {chat.pk})"
    read = await any_agent.found("get_chat", chat=answer["chat"])
    assert [message["text"] for message in read["messages"]] == [
        "Count to three",
        "one two three",
        "And on?",
        "one two three",
    ]
    assert read["last_reply"]["status"] == "completed"


async def test_without_a_model_the_first_one_answers(agent, says):
    says(text="Hello")
    first = (await agent.found("list_models"))["models"][0]
    assert (await agent.found("ask_model", message="Hello"))["model"] == first["name"]


async def test_progress_is_told_while_it_is_written(any_agent, says):
    says(chunks=[f"word{n} " for n in range(20)], tokens_per_second=15, reasoning=["Hm"])
    told = []

    async def note(progress, total, message):
        told.append((progress, total, message))

    async with any_agent.connect() as client:
        arguments = {"message": "Count", "model": "Fake model"}
        result = await client.call_tool("ask_model", arguments, progress_callback=note)
    assert result.structured_content["status"] == "completed"
    numbers = [progress for progress, _, _ in told]
    assert numbers == sorted(set(numbers))
    assert told[0][2] == "The model was asked."
    assert 3 <= len(told) <= 8
    assert "word" in told[-1][2]


async def test_answers_from_documents_name_their_sources(agent, owner, says):
    says(text="Every two years [1].")
    await in_thread(add_document, owner, ContentFile(b"The station is calibrated every two years.", name="manual.txt"))
    await in_thread(
        wait_until, lambda: Document.objects.filter(current__isnull=False).exists(), seconds=20, what="it was read"
    )
    question = {"message": "When is the station calibrated?", "model": "Fake model", "use_documents": True}
    result = await agent.call("ask_model", **question)
    (source,) = result.structured_content["sources"]
    assert (source["number"], source["title"]) == (1, "manual.txt")
    assert "Sources:\n[1] manual.txt" in result.content[0].text


async def test_a_failure_of_the_provider_is_told_to_the_model(any_agent, says, settings):
    settings.PROVIDER_RETRIES = 0
    says(status=401)
    result = await any_agent.call("ask_model", message="Hi", model="Fake model")
    assert result.is_error
    assert result.structured_content["status"] == "failed"
    assert result.structured_content["error"]["code"] in result.content[0].text


async def test_what_a_reply_may_not_do_is_refused_before_anything_is_stored(agent, settings, says):
    assert await agent.error("ask_model", message="Hi", model="No such model") == "model_unavailable"
    assert await agent.error("ask_model", message=" ") == "invalid"
    assert await agent.error("ask_model", message="x" * 100_001) == "too_large"
    settings.SENDS_PER_MINUTE_PER_USER = 0
    assert await agent.error("ask_model", message="Hi") == "too_many"
    assert not await in_thread(Chat.objects.exists)


async def test_cancelling_stops_the_reply_at_its_provider(any_agent, fake_provider, says, gate):
    says(text="one two three", gate=gate, gate_after=1)
    async with any_agent.connect() as client:
        task = asyncio.create_task(client.call_tool("ask_model", {"message": "Count", "model": "Fake model"}))
        await in_thread(fake_provider.wait_requests, 1)
        await in_thread(the_reply, "running")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await in_thread(fake_provider.wait_closed, 1)
        reply = await in_thread(the_reply, "stopped")
        # The connection goes on.
        assert (await client.call_tool("get_chat", {"chat": str(reply.chat_id)})).structured_content[
            "messages_in_all"
        ] == 2


async def test_hanging_up_stops_the_reply_at_its_provider(any_agent, fake_provider, says, gate):
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(any_agent, fake_provider)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await in_thread(fake_provider.wait_closed, 1)
    assert (await in_thread(the_reply, "stopped")).message.content in {"", "one"}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="nobody sees who waits for the one writer of SQLite")
async def test_hanging_up_while_the_reply_is_stored_stops_it_too(agent, says, gate, owner, openai_model):
    says(text="one two three", gate=gate, gate_after=1)
    chat = await in_thread(services.create_chat, owner, model=openai_model)
    await agent.found("get_chat", chat=str(chat.pk))  # notes the use of the key, which the lock would keep waiting
    is_locked, is_wanted, is_enough = threading.Event(), threading.Event(), threading.Event()

    def lock():
        with transaction.atomic():
            Chat.objects.select_for_update().get(pk=chat.pk)
            is_locked.set()
            wait_until(is_waited_for, seconds=20, what="the reply is to be stored")
            is_wanted.set()
            is_enough.wait(10)

    locking = asyncio.create_task(in_thread(lock))
    await in_thread(is_locked.wait, 10)
    task = asyncio.create_task(agent.call("ask_model", message="Count", chat=str(chat.pk)))
    await in_thread(is_wanted.wait, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    is_enough.set()
    await locking
    await in_thread(the_reply, "stopped")


async def test_a_cancellation_reaches_whichever_node_and_never_the_call_of_another_client(
    agent_of, owner, stranger, *, says, gate
):
    """Two clients with one key count their requests alike, so each has a name of its own."""
    says(text="one two three", gate=gate, gate_after=1)
    agent = await in_thread(agent_of, owner, mode="legacy")
    other = await in_thread(agent_of, stranger)
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {}}
    body["params"] = {"name": "ask_model", "arguments": {"message": "Count", "model": "Fake model"}}

    async def ask():
        async with agent.post(body, **{"Mcp-Session-Id": "mine"}) as response:
            return response.text

    async def cancel(asker, request_id, **headers):
        params = {"requestId": request_id}
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        async with asker.post(message, **headers) as response:
            assert response.status_code == 202

    task = asyncio.create_task(ask())
    await in_thread(the_reply, "running")
    await cancel(agent, 7)
    await cancel(agent, 7, **{"Mcp-Session-Id": "another"})
    await cancel(agent, "7", **{"Mcp-Session-Id": "mine"})
    await cancel(other, 7, **{"Mcp-Session-Id": "mine"})
    await asyncio.sleep(0.3)
    assert not (await in_thread(Reply.objects.get)).stop_requested_at
    await cancel(agent, 7, **{"Mcp-Session-Id": "mine"})
    assert '"stopped"' in await task
    # One that overtakes its request counts too.
    await cancel(agent, 8, **{"Mcp-Session-Id": "mine"})
    body["id"] = 8
    assert '"stopped"' in await ask()


async def test_a_reply_that_waits_for_its_person_is_told_as_it_waits(any_agent, stage):
    stage.model_does(calling(("fake__send_mail", {"to": "a@example.org"})))
    async with asyncio.timeout(20):
        result = await any_agent.call("ask_model", message="Send it", model="Fake model")
    assert not result.is_error
    answer = result.structured_content
    assert answer["status"] == "waiting"
    (call,) = answer["waiting_for"]
    assert call["arguments"] == {"to": "a@example.org"}
    assert "has to allow" in result.content[0].text
    reply = await in_thread(Reply.objects.get, pk=answer["reply"])
    assert len(await in_thread(waiting, reply)) == 1  # and goes on waiting


async def test_tools_that_only_read_run_within_the_call(agent, stage):
    stage.model_does(calling(("fake__look_up", {"what": "x"})), Script(text="Found it"))
    told = []

    async def note(progress, total, message):
        told.append(message)

    async with agent.connect() as client:
        arguments = {"message": "Look it up", "model": "Fake model"}
        result = await client.call_tool("ask_model", arguments, progress_callback=note)
    assert result.structured_content["text"] == "Found it"
    assert any(message.startswith("The model calls ") for message in told)


async def test_a_revoked_key_ends_the_call_and_its_reply(any_agent, fake_provider, says, gate, quick_recheck):
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(any_agent, fake_provider)
    await in_thread(revoke_api_key, any_agent.key)
    async with asyncio.timeout(5):
        result = (await asyncio.gather(task, return_exceptions=True))[0]
    if not isinstance(result, BaseException):
        assert result.structured_content["error"]["code"] == "unauthenticated"
    await in_thread(the_reply, "stopped")


async def test_a_person_who_is_shut_out_gets_nothing_more(
    any_agent, fake_provider, says, gate, *, quick_recheck, owner
):
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(any_agent, fake_provider)
    owner.is_active = False
    await in_thread(owner.save)
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    await in_thread(the_reply, "stopped")


async def test_when_the_server_must_end_the_call_is_told_and_the_reply_goes_on(any_agent, fake_provider, says, gate):
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(any_agent, fake_provider)
    (stream,) = STREAMS._open
    stream.over.get_loop().call_soon_threadsafe(stream.end)
    async with asyncio.timeout(5):
        result = await task
    assert result.structured_content["status"] == "running"
    assert "goes on" in result.content[0].text
    gate.set()
    assert (await in_thread(the_reply, "completed")).message.content == "one two three"


async def test_many_calls_at_once_each_get_their_own_answer(agent, openai_model, settings):
    settings.API_REQUESTS_PER_MINUTE_PER_USER = 10_000
    async with agent.connect() as client:

        async def ask(n):
            return await client.call_tool("ask_model", {"message": f"Say {n}", "model": "Fake model"})

        results = await asyncio.gather(*[ask(n) for n in range(50)])
    texts = [result.structured_content["text"] for result in results]
    assert texts == [f"Echo: Say {n}" for n in range(50)]
    await in_thread(wait_until, lambda: not CONNECTIONS._open, seconds=5, what="no call is under way")
    assert await in_thread(Message.objects.count) == 100


async def test_calls_that_wait_hold_no_thread_and_no_connection(agent, fake_provider, says, gate):
    says(text="one two three", gate=gate, gate_after=1)
    async with agent.connect() as client:
        arguments = {"message": "Count", "model": "Fake model"}
        asking = [asyncio.create_task(client.call_tool("ask_model", arguments)) for _ in range(40)]
        assert await in_thread(fake_provider.wait_requests, 40, 20)
        async with asyncio.timeout(5):
            for _ in range(10):
                assert (await client.call_tool("list_models", {})).structured_content["models"]
        gate.set()
        results = await asyncio.gather(*asking)
    assert {result.structured_content["status"] for result in results} == {"completed"}


async def test_only_so_many_may_be_under_way(agent, fake_provider, says, gate, settings):
    settings.SOCKETS_PER_USER = 1
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(agent, fake_provider)
    async with agent.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) as response:
        assert response.status_code == 429
        assert response.json()["error"]["data"]["code"] == "too_many"
    gate.set()
    assert (await task).structured_content["status"] == "completed"


async def test_a_chat_that_is_deleted_meanwhile_ends_the_call(agent, fake_provider, says, gate):
    says(text="one two three", gate=gate, gate_after=1)
    task = await begun(agent, fake_provider)
    await in_thread(lambda: services.delete_chat(Chat.objects.get()))
    assert (await task).structured_content["error"]["code"] == "not_found"
