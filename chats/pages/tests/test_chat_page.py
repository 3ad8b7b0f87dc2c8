"""The chat page shows a conversation, and it stays as quick when that grows."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from chats.catalog.models import AIModel, Price, Provider
from chats.models import Chat, Message, Reply
from chats.replies.services import StartedReply
from chats.services import append_message, change_message, create_chat
from chats.usage.models import UsageRecord

HX = {"HX-Request": "true"}


def url_of(chat: Chat) -> str:
    return reverse("pages:chat", args=[chat.pk])


def long_chat(owner: User, length: int) -> Chat:
    chat = create_chat(owner, title="Long")
    for number in range(length):
        append_message(chat, role="user" if number % 2 == 0 else "assistant", content=f"Message number {number}.")
    chat.refresh_from_db()
    return chat


def test_a_visitor_without_an_account_is_asked_to_sign_in(client: Client, db: None) -> None:
    response = client.get("/")
    assert (response.status_code, response.url) == (302, "/accounts/login/?next=/")


def test_a_script_of_someone_signed_out_gets_a_sentence(client: Client, db: None) -> None:
    response = client.get("/", headers=HX)
    assert response.status_code == 401
    assert "signed out" in response.content.decode()


def test_a_new_chat_offers_examples_and_the_models(visitor: Client, demo_model: AIModel) -> None:
    page = visitor.get("/").content.decode()
    assert page.count("data-example=") == 3
    assert f'value="{demo_model.pk}"' in page
    assert "<h1" in page


def test_an_example_fills_the_box_without_sending(visitor: Client, demo_model: AIModel) -> None:
    page = visitor.get("/", {"text": "</textarea><b>Hello"}).content.decode()
    assert "&lt;/textarea&gt;&lt;b&gt;Hello</textarea>" in page
    assert not Chat.objects.exists()


def test_the_user_is_shown_as_typed_and_the_model_formatted(visitor: Client, chat: Chat) -> None:
    page = visitor.get(url_of(chat)).content.decode()
    assert "Why are there &lt;b&gt;tides&lt;/b&gt;?" in page
    assert "Because of the <em>Moon</em>." in page
    assert "<title>Tides · Parley</title>" in page


def test_private_pages_are_not_cached(visitor: Client, chat: Chat) -> None:
    for address in ("/", url_of(chat), reverse("pages:chats")):
        assert "no-store" in visitor.get(address).headers["Cache-Control"]
        assert "private" in visitor.get(address).headers["Cache-Control"]


def test_nothing_inline_and_nothing_from_elsewhere(visitor: Client, chat: Chat) -> None:
    response = visitor.get(url_of(chat))
    page = response.content.decode()
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert " style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count('<script type="module" src="/')


def test_only_the_newest_messages_are_on_the_page(visitor: Client, owner: User) -> None:
    page = visitor.get(url_of(long_chat(owner, 100))).content.decode()
    assert page.count("data-message=") == 40
    assert "Message number 99." in page
    assert "Message number 59." not in page
    assert "Earlier messages" in page


def test_earlier_messages_are_one_link_away_until_the_first(visitor: Client, owner: User) -> None:
    chat = long_chat(owner, 100)
    ids = Message.objects.visible_to(owner).path_ids(chat.current_leaf_id)
    middle = visitor.get(url_of(chat), {"before": str(ids[60])}).content.decode()
    assert "Message number 20." in middle
    assert "Message number 59." in middle
    assert "Newest messages" in middle
    first = visitor.get(url_of(chat), {"before": str(ids[20])}, headers=HX).content.decode()
    assert first.count("data-message=") == 20
    assert "Earlier messages" not in first
    assert "<html" not in first


def test_a_place_that_is_not_in_the_chat_is_missing(visitor: Client, chat: Chat, started: StartedReply) -> None:
    assert visitor.get(url_of(chat), {"before": str(started.message.pk)}).status_code == 404
    assert visitor.get(url_of(chat), {"before": "nonsense"}).status_code == 200


@pytest.mark.parametrize("length", [2, 100])
def test_the_number_of_queries_does_not_grow(
    visitor: Client,
    owner: User,
    length: int,
    many_chats: list[Chat],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    chat = long_chat(owner, length)
    with django_assert_max_num_queries(13):
        visitor.get(url_of(chat))


def test_an_answer_that_is_being_written_says_where_to_go_on(visitor: Client, started: StartedReply) -> None:
    Message.objects.filter(pk=started.answer.pk).update(content="Because <light>")
    page = visitor.get(url_of(started.chat)).content.decode()
    assert f'data-reply="{started.reply.pk}" data-after="0"' in page
    assert "data-raw>Because &lt;light&gt;</div>" in page
    refresh = f'<noscript><meta http-equiv="refresh" content="3; url={url_of(started.chat)}"><link rel="stylesheet"'
    assert refresh in page
    assert "chats/css/waiting" in page
    assert "Then you can write again." in page
    assert f'formaction="{reverse("pages:stop", args=[started.reply.pk])}"' in page
    assert "data-answering" in page


def test_a_finished_page_does_not_refresh(visitor: Client, chat: Chat) -> None:
    page = visitor.get(url_of(chat)).content.decode()
    assert "http-equiv" not in page
    assert "chats/css/waiting" not in page


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("stopped", "You stopped this answer."),
        ("failed", "The answer failed."),
        ("incomplete", "The model ended before it was done."),
        ("interrupted", "The server was interrupted"),
        ("budget_exceeded", "The budget does not cover this answer."),
    ],
)
def test_an_answer_that_did_not_end_well_says_so_and_offers_another_try(
    visitor: Client, ended: Callable[..., StartedReply], status: str, sentence: str
) -> None:
    answer = ended(status, content="Half an ans")
    page = visitor.get(url_of(answer.chat)).content.decode()
    assert sentence in page
    assert "Half an ans" in page
    assert reverse("pages:retry", args=[answer.reply.pk]) in page


def test_without_javascript_an_answer_about_to_stop_says_so_and_is_looked_at_soon(
    visitor: Client, started: StartedReply
) -> None:
    Reply.objects.filter(pk=started.reply.pk).update(status="running")
    visitor.post(reverse("pages:stop", args=[started.reply.pk]))
    page = visitor.get(url_of(started.chat)).content.decode()
    assert "Stopping …" in page
    assert f'<meta http-equiv="refresh" content="1; url={url_of(started.chat)}">' in page


def test_an_answer_stopped_before_its_first_word_says_so(visitor: Client, ended: Callable[..., StartedReply]) -> None:
    page = visitor.get(url_of(ended("stopped").chat)).content.decode()
    assert "You stopped this answer before it began." in page


def test_the_cause_of_a_failure_is_shown_in_the_engines_words(
    visitor: Client, ended: Callable[..., StartedReply]
) -> None:
    answer = ended("failed", error_code="provider_refused", error_message="The key is <wrong>.")
    assert "The key is &lt;wrong&gt;." in visitor.get(url_of(answer.chat)).content.decode()


def test_under_an_answer_stand_its_tokens_and_cost(
    visitor: Client, owner: User, ended: Callable[..., StartedReply]
) -> None:
    answer = ended("completed", content="Scattering.")
    UsageRecord.objects.create(
        user=owner, chat=answer.chat, message=answer.answer, reply=answer.reply, output_tokens=1234, cost="0.00123"
    )
    page = visitor.get(url_of(answer.chat)).content.decode()
    assert "1,234 tokens" in page
    assert "$0.0012" in page


def test_an_unknown_cost_is_not_called_free(visitor: Client, owner: User, ended: Callable[..., StartedReply]) -> None:
    answer = ended("completed", content="Scattering.")
    UsageRecord.objects.create(user=owner, chat=answer.chat, message=answer.answer, reply=answer.reply, output_tokens=1)
    page = visitor.get(url_of(answer.chat)).content.decode()
    assert "cost unknown" in page
    assert "1 token<" in page


def test_messages_of_systems_and_tools_are_folded(visitor: Client, chat: Chat) -> None:
    append_message(chat, role="system", content="Be brief.")
    calls = [{"id": "1", "function": {"name": "search", "arguments": "{}"}}, {"name": "fetch"}, {"function": 3}, "odd"]
    append_message(chat, role="assistant", content="", tool_calls=calls)
    append_message(chat, role="tool", content="<script>found</script>")
    page = visitor.get(url_of(chat)).content.decode()
    assert "<summary>System</summary>" in page
    assert "Called search" in page
    assert "Called fetch" in page
    assert page.count("Called a tool") == 2
    assert "&lt;script&gt;found" in page


def test_one_message_alone_is_a_fragment(visitor: Client, owner: User, chat: Chat) -> None:
    page = visitor.get(reverse("pages:message", args=[chat.current_leaf_id]), headers=HX).content.decode()
    assert "Because of the <em>Moon</em>." in page
    assert "<html" not in page


def test_a_message_can_be_had_as_its_text(visitor: Client, chat: Chat) -> None:
    change_message(Message.objects.get(pk=chat.current_leaf_id), content="<script>x</script>")
    response = visitor.get(reverse("pages:text", args=[chat.current_leaf_id]))
    assert response.content.decode() == "<script>x</script>"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_picker_tells_prices(visitor: Client, demo_model: AIModel) -> None:
    provider = Provider.objects.create(name="Other", base_url="http://localhost:1/v1")
    for number, price in enumerate([("1.25", "10", "0.01"), ("0", "0", "0"), None]):
        model = AIModel.objects.create(provider=provider, name=f"M{number}", model_id=f"m{number}", enabled=True)
        if price:
            Price.objects.create(
                model=model, input_per_million=price[0], output_per_million=price[1], per_request=price[2]
            )
    page = visitor.get("/").content.decode()
    assert "$1.25 in · $10.00 out per million tokens + $0.01 a request" in page
    assert "Free" in page
    assert "Price unknown" in page


def test_a_chat_whose_model_was_switched_off_says_who_answers(
    visitor: Client, started: StartedReply, demo_model: AIModel
) -> None:
    other = AIModel.objects.create(provider=demo_model.provider, name="Other", model_id="other", enabled=True)
    AIModel.objects.filter(pk=demo_model.pk).update(enabled=False)
    page = visitor.get(url_of(started.chat)).content.decode()
    assert f"{other.name} will answer." in page


def test_without_any_model_people_learn_whom_to_ask(
    visitor: Client, staff: User, client_of: Callable[[User], Client], demo_model: AIModel
) -> None:
    AIModel.objects.update(enabled=False)
    assert "Ask the people who run this Parley" in visitor.get("/").content.decode()
    assert "Choose models" in client_of(staff).get("/").content.decode()


def test_the_browsers_time_zone_is_used_and_nonsense_is_not(visitor: Client, chat: Chat) -> None:
    for zone in ("Pacific/Auckland", "../../etc/passwd", "Nowhere/Land", "\0"):
        visitor.cookies["timezone"] = zone
        assert visitor.get(url_of(chat)).status_code == 200


def test_the_oldest_of_a_thousand_messages_is_reached_by_links(visitor: Client, owner: User) -> None:
    chat = create_chat(owner, title="Long")
    rows: list[Message] = []
    for number in range(1_000):
        rows.append(Message(chat=chat, role="user", content=f"Line {number}.", parent=rows[-1] if rows else None))
    Message.objects.bulk_create(rows)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=rows[-1])
    address: str | None = url_of(chat)
    seen: list[int] = []
    while address:
        page = visitor.get(address).content.decode()
        seen = [int(number) for number in re.findall(r"Line (\d+)\.", page)] + seen
        link = re.search(r'class="earlier" href="([^"]+)"', page)
        address = link and link[1]
    assert seen == list(range(1_000))
