import pytest

from chats.catalog.models import AIModel
from chats.llm.tests.fake_provider import Script
from chats.models import Chat
from chats.services import update_chat
from chats.usage.models import UsageRecord
from config.tests.live import wait_until


@pytest.fixture
def title_model(openai_model):
    return AIModel.objects.create(
        provider=openai_model.provider, name="Titles", model_id="titles-1", enabled=True, writes_titles=True, order=900
    )


def _title_of(started) -> str:
    return Chat.objects.values_list("title", flat=True).get(pk=started.chat.pk)


def test_the_model_marked_for_titles_names_a_new_chat_and_is_booked(say, ended, fake_provider, title_model):
    fake_provider.script("titles-1", Script(text='"Mountains of Europe."'))
    started = say("What is the tallest mountain of Europe?")
    assert _title_of(started) == "What is the tallest mountain of Europe?"
    ended(started)

    wait_until(lambda: _title_of(started) == "Mountains of Europe", seconds=5, what="the better title is there")
    record = UsageRecord.objects.get(purpose="title")
    assert record.reply_id == started.reply.pk
    assert record.model_name == "Titles"
    assert record.cost is None


def test_a_name_given_by_a_person_stands(say, ended, fake_provider, title_model):
    fake_provider.script("titles-1", Script(text="Something else"))
    started = say("Hello")
    update_chat(started.chat, title="Mine")
    ended(started)
    second = say("And again", chat_id=started.chat.pk)
    ended(second)
    assert _title_of(started) == "Mine"
    assert [request.body["model"] for request in fake_provider.requests if request.method == "POST"] == ["fake-1"] * 2


def test_a_title_that_fails_leaves_the_first_words(say, ended, fake_provider, title_model):
    fake_provider.script("titles-1", Script(status=500, body={}))
    started = say("Hello there")
    ended(started)
    assert fake_provider.wait_requests(2)
    assert fake_provider.wait_idle()
    assert _title_of(started) == "Hello there"


def test_a_title_that_breaks_off_is_booked_for_what_it_brought(say, ended, fake_provider, title_model):
    fake_provider.script("titles-1", Script(text="Mountains of Europe", drop_after=2))
    started = say("Hello there")
    ended(started)
    wait_until(lambda: UsageRecord.objects.filter(purpose="title").exists(), seconds=5, what="the title is booked")
    record = UsageRecord.objects.get(purpose="title")
    assert record.is_estimated
    assert record.output_tokens > 0
    assert _title_of(started) == "Hello there"


def test_a_title_takes_no_longer_than_its_model_may(say, ended, fake_provider, title_model):
    title_model.first_token_seconds = 1
    title_model.save()
    fake_provider.script("titles-1", Script(comments_only=True))
    started = say("Hello there")
    ended(started)
    assert fake_provider.wait_requests(2)
    assert fake_provider.wait_closed(1, timeout=4)
    assert _title_of(started) == "Hello there"
