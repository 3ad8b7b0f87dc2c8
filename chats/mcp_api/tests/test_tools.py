"""What the tools are and what they find, asked by the real client; only the person's own, whoever asks."""

import pytest
from django.core.files.base import ContentFile
from django.db import connection

from chats import services
from chats.catalog.models import Price
from chats.knowledge.models import Document
from chats.knowledge.services import add_document
from config.tests.live import wait_until
from config.tests.threads import in_thread

NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def chat(live, owner):
    chat = services.create_chat(owner, title="Leap seconds", space="work", tags=["time"])
    services.append_message(chat, role="user", content="Why does a day last longer now and then?")
    services.append_message(chat, role="assistant", content="Because the Earth turns more slowly.")
    return chat


async def test_the_tools_say_what_they_are(any_agent):
    async with any_agent.connect() as client:
        assert client.server_info.name == "parley"
        assert "chat platform" in client.instructions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["search_chats", "get_chat", "search_documents", "list_models", "ask_model"]
    assert [tool.annotations.read_only_hint for tool in tools.values()] == [True, True, True, True, False]
    assert all(tool.description and tool.title and tool.output_schema for tool in tools.values())
    assert tools["ask_model"].input_schema["required"] == ["message"]
    assert tools["search_chats"].input_schema["properties"]["limit"]["maximum"] == 20


async def test_chats_are_found_by_their_titles_and_by_what_was_said(any_agent, chat, owner):
    await in_thread(services.create_chat, owner, title="Something else")
    by_title = await any_agent.found("search_chats", query="seconds leap")
    by_text = await any_agent.found("search_chats", query="EARTH slowly")
    assert [hit["id"] for hit in by_title["chats"]] == [hit["id"] for hit in by_text["chats"]] == [str(chat.pk)]
    assert by_text["chats"][0]["excerpt"] == "Because the Earth turns more slowly."
    assert by_text["chats"][0]["title"] == "Leap seconds"
    assert (by_text["text_searched_in"], by_text["has_older_chats"]) == (2, False)


async def test_the_search_of_chats_can_be_narrowed(agent, chat):
    assert (await agent.found("search_chats", query="leap", space="work", tag="time"))["chats"]
    assert not (await agent.found("search_chats", query="leap", space="home"))["chats"]
    assert not (await agent.found("search_chats", query="leap", tag="space"))["chats"]
    assert not (await agent.found("search_chats", query="leap moon"))["chats"]


async def test_only_the_newest_chats_are_searched_by_their_text_and_the_answer_says_so(agent, chat, owner, settings):
    settings.MCP_SEARCH_CHATS = 1
    newer = await in_thread(services.create_chat, owner, title="Newer")
    await in_thread(services.append_message, newer, role="user", content="x" * 400 + " The Earth " + "y" * 400)
    found = await agent.found("search_chats", query="earth")
    assert [hit["id"] for hit in found["chats"]] == [str(newer.pk)]
    assert "The Earth" in found["chats"][0]["excerpt"]
    assert len(found["chats"][0]["excerpt"]) < 320
    assert (found["text_searched_in"], found["has_older_chats"]) == (1, True)
    settings.MCP_SEARCH_CHATS, settings.MCP_SEARCH_MESSAGES = 2, 1
    assert len((await agent.found("search_chats", query="earth"))["chats"]) == 2
    assert not (await agent.found("search_chats", query="why does"))["chats"]


async def test_a_chat_is_read_from_its_end(any_agent, chat):
    whole = await any_agent.found("get_chat", chat=str(chat.pk))
    assert [(message["role"], message["is_cut"]) for message in whole["messages"]] == [
        ("user", False),
        ("assistant", False),
    ]
    assert (whole["title"], whole["messages_in_all"], whole["last_reply"]) == ("Leap seconds", 2, None)
    last = await any_agent.found("get_chat", chat=str(chat.pk), last=1)
    assert [message["text"] for message in last["messages"]] == ["Because the Earth turns more slowly."]


async def test_an_empty_chat_and_a_long_one_are_read_too(agent, chat, owner, settings):
    empty = await in_thread(services.create_chat, owner)
    assert (await agent.found("get_chat", chat=str(empty.pk)))["messages"] == []
    settings.MCP_RESULT_MAX_CHARACTERS = 40
    cut = (await agent.found("get_chat", chat=str(chat.pk)))["messages"]
    assert [(len(message["text"]), message["is_cut"]) for message in cut] == [(4, True), (36, False)]


async def test_passages_of_documents_are_found(any_agent, owner):
    await in_thread(add_document, owner, ContentFile(b"The station is calibrated every two years.", name="manual.txt"))
    await in_thread(
        wait_until,
        lambda: Document.objects.filter(current__isnull=False).exists(),
        seconds=20,
        what="the document was read",
    )
    found = await any_agent.found("search_documents", query="When is the station calibrated?", limit=3)
    assert [(each["name"], each["text"]) for each in found["passages"]] == [
        ("manual.txt", "The station is calibrated every two years.")
    ]


async def test_searches_of_documents_count_with_those_over_the_api(agent, settings, api_of, owner):
    settings.SEARCHES_PER_MINUTE = 1
    assert (await agent.found("search_documents", query="anything")) == {"passages": []}
    assert await agent.error("search_documents", query="anything") == "too_many"
    api = await in_thread(api_of, owner)
    assert (await in_thread(api.post, "/api/v1/documents/search/", {"query": "anything"})).status_code == 429


async def test_models_are_listed_with_their_prices(any_agent, openai_model):
    models = {model["name"]: model for model in (await any_agent.found("list_models"))["models"]}
    assert models["Fake model"]["price_usd"]["input_per_million"] == "1.25"
    assert models["Fake model"]["provider"] == "Fake provider"
    assert [model["is_default"] for model in models.values()] == [True, False]


async def test_what_belongs_to_another_looks_like_what_is_missing(agent_of, stranger, chat, owner):
    await in_thread(add_document, owner, ContentFile(b"The station is calibrated every two years.", name="manual.txt"))
    other = await in_thread(agent_of, stranger)
    assert (await other.found("search_chats", query="leap"))["chats"] == []
    assert (await other.found("search_documents", query="calibrated"))["passages"] == []
    for tool, rest in [("get_chat", {}), ("ask_model", {"message": "Hi"})]:
        foreign = await other.call(tool, chat=str(chat.pk), **rest)
        missing = await other.call(tool, chat=NOWHERE, **rest)
        assert foreign.is_error
        assert foreign.structured_content == missing.structured_content
        assert foreign.structured_content["error"]["code"] == "not_found"


@pytest.fixture
def no_prices(live):
    """There is no table of prices, which is a mistake that nobody expects."""

    def rename(old, new):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename(Price._meta.db_table, "aside")
    yield
    rename("aside", Price._meta.db_table)


async def test_a_mistake_of_ours_is_told_without_its_details(agent, no_prices):
    result = await agent.call("list_models")
    assert result.is_error
    # To SQLite it is one of those that may pass.
    assert result.structured_content["error"]["code"] in {"internal", "unavailable"}
    assert Price._meta.db_table not in result.content[0].text


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("search_chats", {}, "query"),
        ("search_chats", {"query": "x", "limit": 21}, "limit"),
        ("search_chats", {"query": "x", "user": "me"}, "user"),
        ("get_chat", {"chat": "7"}, "chat"),
        ("get_chat", {"chat": NOWHERE, "last": 0}, "last"),
        ("search_documents", {"query": "x" * 3_000}, "query"),
        ("ask_model", {"message": ["x"]}, "message"),
        ("ask_model", {"message": "x", "use_documents": "maybe"}, "use_documents"),
        ("ask_model", {"message": "x", "chat": NOWHERE, "system": "Be brief"}, "system"),
    ],
)
async def test_bad_arguments_are_told_to_the_model(agent, tool, arguments, field):
    result = await agent.call(tool, **arguments)
    assert result.is_error
    assert result.structured_content["error"]["code"] == "invalid"
    assert field in result.structured_content["error"]["fields"]
    assert f"{field}: " in result.content[0].text
