from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply
from chats.services import create_chat
from chats.usage.models import UsageRecord
from config.tests.sockets import text_of
from config.tests.threads import in_thread

TEXT = "".join(f" word{i}" for i in range(200))


async def test_a_sent_message_is_answered_word_for_word_in_numbered_events(
    owner, live, openai_model, fake_provider, open_socket
):
    fake_provider.script("fake-1", Script(text=TEXT, tokens_per_second=400))
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Count for me", client_id="a1")
        events = await socket.receive_until("reply.finished")

    accepted = next(event for event in events if event["type"] == "message.accepted")
    numbered = [event for event in events if "seq" in event]
    assert accepted["client_id"] == "a1"
    assert accepted["message"]["content"] == "Count for me"
    assert [event["seq"] for event in numbered] == list(range(1, len(numbered) + 1))
    assert {event["reply"] for event in numbered} == {accepted["reply"]["id"]}
    assert numbered[0]["type"] == "reply.started"
    assert text_of(numbered) == TEXT
    finished = numbered[-1]
    assert finished["status"] == "completed"
    assert finished["message"]["content"] == TEXT
    stored = await in_thread(Message.objects.get, reply=accepted["reply"]["id"])
    assert stored.content == TEXT


async def test_deltas_are_gathered_so_that_a_viewer_gets_far_fewer_events_than_tokens(
    owner, live, openai_model, fake_provider, open_socket
):
    fake_provider.script("fake-1", Script(text=TEXT, tokens_per_second=400))
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Count for me")
        events = await socket.receive_until("reply.finished")

    deltas = [event["text"] for event in events if event["type"] == "text.delta"]
    assert "".join(deltas) == TEXT
    # 200 tokens in half a second and windows of 50 ms: about ten.
    assert len(deltas) < 60


async def test_reasoning_is_streamed_and_stored_beside_the_text(owner, live, openai_model, fake_provider, open_socket):
    fake_provider.script("fake-1", Script(text="Yes", reasoning=["Let me ", "think"]))
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Well?")
        events = await socket.receive_until("reply.finished")

    thought = "".join(event["text"] for event in events if event["type"] == "reasoning.delta")
    assert thought == "Let me think"
    assert events[-1]["message"]["reasoning"] == "Let me think"
    assert events[-1]["message"]["content"] == "Yes"


async def test_usage_is_booked_with_the_price_of_the_start(owner, live, openai_model, fake_provider, open_socket):
    usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    fake_provider.script("fake-1", Script(text="Hello", usage=usage))
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="Hi")
        finished = (await socket.receive_until("reply.finished"))[-1]

    record = await in_thread(UsageRecord.objects.get)
    assert finished["cost"] == "0.00325"
    assert finished["usage"]["input_tokens"] == 1000
    assert finished["usage"]["output_tokens"] == 200
    assert finished["usage"]["is_estimated"] is False
    assert (record.user_email, record.model_name) == (owner.email, "Fake model")
    assert record.raw_usage == usage


async def test_the_prompt_is_the_path_of_the_chat_with_its_system_prompt(
    owner, live, openai_model, fake_provider, open_socket
):
    chat = await in_thread(create_chat, owner, system_prompt="Be brief.")

    async with await open_socket(owner, chat) as socket:
        for content in ("One", "Two"):
            await socket.send("message.send", content=content)
            await socket.receive_until("reply.finished")

    assert fake_provider.requests[-1].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Echo: One"},
        {"role": "user", "content": "Two"},
    ]


async def test_two_sends_to_one_chat_are_answered_one_after_the_other(
    owner, live, openai_model, fake_provider, open_socket
):
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="One")
        await socket.send("message.send", content="Two")
        await socket.receive_until("reply.finished")
        await socket.receive_until("reply.finished")

    replies = await in_thread(lambda: list(Reply.objects.order_by("created_at")))
    assert [reply.status for reply in replies] == ["completed", "completed"]
    assert replies[0].finished_at <= replies[1].started_at
    assert [message["content"] for message in fake_provider.requests[-1].body["messages"]] == [
        "One",
        "Echo: One",
        "Two",
    ]


async def test_a_chat_is_named_after_its_first_words_and_moves_up_when_answered(owner, live, openai_model, open_socket):
    chat = await in_thread(create_chat, owner)

    async with await open_socket(owner, chat) as socket:
        await socket.send("message.send", content="What is the tallest mountain\nof Europe?")
        changed = (await socket.receive_until("chat.changed"))[-1]["chat"]

    assert changed["title"] == "What is the tallest mountain of Europe?"
    assert changed["id"] == str(chat.pk)
