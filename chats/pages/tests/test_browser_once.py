"""One gesture, one message: whatever fingers, networks and tabs do, and the text stays until the server has it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from accounts.models import User
from chats.models import Chat, Message, Reply
from chats.pages.tests.test_browser import FINISHED, send, visit
from chats.pages.tests.test_browser_access import complaints
from chats.services import create_chat
from config.tests.live import LiveServer, wait_until

pytestmark = pytest.mark.browser

SENDING = re.compile(r"/send/$")
PROBING = re.compile(r"/health/$")
UNREACHABLE = "This will be sent when it is back."
BANNER = "Trying again …"


@pytest.fixture
def chat(owner: User) -> Chat:
    return create_chat(owner, title="Once")


@pytest.fixture
def box_page(signed_in: Page, chat: Chat) -> Iterator[Page]:
    visit(signed_in, f"/chats/{chat.pk}/")
    return signed_in


def said(chat: Chat) -> list[str]:
    return list(chat.messages.filter(role="user").values_list("content", flat=True))


def losing_the_answer(page: Page) -> list[str]:
    """From here on what is sent arrives, and its answer does not. Returns what was sent so far."""
    bodies: list[str] = []

    def lose(route: Route) -> None:
        bodies.append(route.request.post_data or "")
        route.fetch()
        route.abort()

    page.route(SENDING, lose)
    return bodies


def banner(page: Page) -> Locator:
    return page.locator("[data-network]")


def without_news(page: Page) -> None:
    """Keep the page from hearing what else there is."""
    page.route_web_socket("**/ws/**", lambda socket: socket.close(code=1011))


def test_enter_held_down_sends_once(box_page: Page, chat: Chat) -> None:
    box_page.get_by_label("Message", exact=True).fill("quote held")
    # A key that goes down again before it came up is what a keyboard's repetition looks like.
    for _ in range(30):
        box_page.keyboard.down("Enter")
    box_page.keyboard.up("Enter")
    expect(box_page.locator(FINISHED)).to_be_visible()
    assert said(chat) == ["quote held"]
    assert box_page.get_by_label("Message", exact=True).input_value() == ""


def test_enter_held_down_on_a_new_chat_makes_one(signed_in: Page, owner: User) -> None:
    visit(signed_in, "/")
    signed_in.get_by_label("Message", exact=True).fill("quote held")
    for _ in range(30):
        signed_in.keyboard.down("Enter")
    signed_in.wait_for_url("**/chats/*/")
    expect(signed_in.locator(FINISHED)).to_be_visible()
    assert Chat.objects.get().messages.count() == 2


def test_a_double_click_on_send_sends_once(box_page: Page, chat: Chat) -> None:
    box_page.get_by_label("Message", exact=True).fill("quote double")
    # The first click may turn the button into Stop under the pointer.
    box_page.get_by_role("button", name="Send", exact=True).dblclick()
    expect(box_page.locator("article.from-model:not([data-reply])")).to_be_visible()
    assert said(chat) == ["quote double"]
    assert Reply.objects.get().status == Reply.Status.COMPLETED


def test_a_lost_answer_is_asked_for_again_and_is_one_message(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    sent = losing_the_answer(box_page)
    send(box_page, "quote lost and found")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
    with box_page.expect_request(SENDING):
        assert sent
    box_page.unroute(SENDING)
    expect(box_page.locator(FINISHED)).to_contain_text("lost and found")
    assert said(chat) == ["quote lost and found"]
    expect(box_page.locator("article.from-user")).to_have_count(1)
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_hidden()


def test_send_again_does_not_wait(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    # Nothing happens by itself while the clock stands still.
    box_page.clock.install(time=0)
    visit(box_page, box_page.url)
    box_page.clock.pause_at(3_600_000)
    losing_the_answer(box_page)
    send(box_page, "quote by hand")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
    box_page.unroute(SENDING)
    box_page.get_by_role("button", name="Send again").click()
    expect(box_page.locator(".bubble")).to_have_text("quote by hand")
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("")
    assert said(chat) == ["quote by hand"]


@contextmanager
def server_away(page: Page) -> Iterator[None]:
    """Until the end of the block nothing that is sent or asked arrives."""
    for address in (SENDING, PROBING):
        page.route(address, lambda route: route.abort())
    yield
    for address in (SENDING, PROBING):
        page.unroute(address)


def test_what_a_server_that_is_away_was_to_get_is_sent_when_it_is_back(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    with server_away(box_page):
        send(box_page, "quote patient")
        expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
        expect(banner(box_page)).to_be_visible()
        assert said(chat) == []
    expect(box_page.locator(FINISHED)).to_contain_text("patient")
    expect(banner(box_page)).to_be_hidden()
    assert said(chat) == ["quote patient"]


def test_other_words_are_not_sent_by_themselves(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    with server_away(box_page):
        send(box_page, "quote half")
        expect(banner(box_page)).to_be_visible()
        box_page.get_by_label("Message", exact=True).press_sequentially(" a thought")
        expect(box_page.get_by_text(UNREACHABLE)).to_be_hidden()
    expect(banner(box_page)).to_be_hidden()
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("quote half a thought")
    assert said(chat) == []


@pytest.mark.parametrize("is_gateway", [False, True])
def test_a_page_on_which_nothing_happens_says_that_its_server_is_away(box_page: Page, is_gateway: bool) -> None:
    without_news(box_page)
    box_page.route(PROBING, lambda route: route.fulfill(status=502) if is_gateway else route.abort())
    visit(box_page, box_page.url)
    expect(banner(box_page)).to_contain_text(BANNER)
    expect(banner(box_page)).to_be_visible()
    expect(box_page.locator("#spoken")).to_contain_text(BANNER)
    assert complaints(box_page) == []
    box_page.unroute(PROBING)
    expect(banner(box_page)).to_be_hidden()


def test_enter_while_an_answer_is_written_says_why_nothing_is_sent(box_page: Page, chat: Chat) -> None:
    send(box_page, "slow")
    expect(box_page.get_by_role("button", name="Stop the answer")).to_be_visible()
    hint = box_page.locator(".composer").get_by_text("Wait for the answer, or stop it.")
    expect(hint).to_be_hidden()
    send(box_page, "quote eager")
    expect(hint).to_be_visible()
    expect(box_page.locator("#spoken")).to_have_text("Wait for the answer, or stop it.")
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("quote eager")
    assert complaints(box_page) == []
    box_page.keyboard.press("Escape")
    expect(box_page.get_by_text("You stopped this answer")).to_be_visible()
    expect(hint).to_be_hidden()
    box_page.keyboard.press("Enter")
    expect(box_page.locator(".bubble").last).to_have_text("quote eager")


def test_what_was_sent_is_recognised_after_a_reload(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    losing_the_answer(box_page)
    send(box_page, "quote reloaded")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
    visit(box_page, box_page.url)
    expect(box_page.locator(".bubble")).to_have_text("quote reloaded")
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("")
    assert said(chat) == ["quote reloaded"]


def test_what_was_sent_is_recognised_when_it_is_heard_of(box_page: Page, chat: Chat) -> None:
    losing_the_answer(box_page)
    send(box_page, "quote heard")
    expect(box_page.locator(".bubble")).to_have_text("quote heard")
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_hidden()
    assert said(chat) == ["quote heard"]


def test_a_new_chat_sent_again_after_a_reload_is_the_same_chat(signed_in: Page) -> None:
    visit(signed_in, "/")
    losing_the_answer(signed_in)
    send(signed_in, "quote new")
    expect(signed_in.get_by_text(UNREACHABLE)).to_be_visible()
    visit(signed_in, "/")
    signed_in.unroute(SENDING)
    expect(signed_in.get_by_label("Message", exact=True)).to_have_value("quote new")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url("**/chats/*/")
    expect(signed_in.locator(FINISHED)).to_contain_text("new")
    assert Chat.objects.get().messages.count() == 2
    visit(signed_in, "/")
    expect(signed_in.get_by_label("Message", exact=True)).to_have_value("")


def test_a_reload_while_nothing_arrives_keeps_the_text(box_page: Page, chat: Chat) -> None:
    held: list[Route] = []
    box_page.route(SENDING, lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
    send(box_page, "quote on its way")
    expect(box_page.locator("form[data-sending]")).to_be_attached()
    visit(box_page, box_page.url)
    box_page.unroute(SENDING)
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("quote on its way")
    assert said(chat) == []
    box_page.keyboard.press("Enter")
    expect(box_page.locator(FINISHED)).to_contain_text("on its way")
    assert said(chat) == ["quote on its way"]


def test_other_words_after_a_lost_answer_are_another_message(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    losing_the_answer(box_page)
    send(box_page, "quote one")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
    box_page.unroute(SENDING)
    send(box_page, "quote two")
    expect(box_page.locator(FINISHED)).to_have_count(2)
    assert said(chat) == ["quote one", "quote two"]


def test_the_network_gone_between_send_and_answer(box_page: Page, chat: Chat) -> None:
    without_news(box_page)
    visit(box_page, box_page.url)
    losing_the_answer(box_page)
    send(box_page, "quote tunnel")
    expect(box_page.get_by_text(UNREACHABLE)).to_be_visible()
    box_page.context.set_offline(True)
    expect(banner(box_page)).to_contain_text("You are offline. What you write is kept")
    box_page.get_by_role("button", name="Send again").click()
    expect(box_page.get_by_text("This will be sent when you are back")).to_be_visible()
    box_page.unroute(SENDING)
    box_page.context.set_offline(False)
    expect(box_page.get_by_label("Message", exact=True)).to_have_value("")
    expect(box_page.locator(FINISHED)).to_contain_text("tunnel")
    assert said(chat) == ["quote tunnel"]
    expect(box_page.locator("article.from-user")).to_have_count(1)


def test_two_tabs_that_send_at_once_are_two_messages_in_one_tree(box_page: Page, chat: Chat) -> None:
    first, second = box_page, box_page.context.new_page()
    visit(second, first.url)
    for page, text in ((first, "quote left"), (second, "quote right")):
        page.get_by_label("Message", exact=True).fill(text)
    for page in (first, second):
        page.evaluate("setTimeout(() => document.getElementById('composer').requestSubmit(), 50)")
    wait_until(
        lambda: chat.messages.count() == 4 and not Reply.objects.unfinished().exists(),
        seconds=30,
        what="both are answered",
    )
    assert sorted(said(chat)) == ["quote left", "quote right"]
    chat.refresh_from_db()
    path = Message.objects.path_to(chat.current_leaf_id)
    assert [message.role for message in path] == ["user", "assistant"] * 2
    for page in (first, second):
        expect(page.locator("article.from-user")).to_have_count(2)
        expect(page.locator(FINISHED)).to_have_count(2)
        texts = page.locator("article.from-user .bubble").all_inner_texts()
        assert texts == [message.content for message in path if message.role == "user"]


def test_a_form_without_javascript_sent_twice_is_one_message(signed_in: Page, live: LiveServer, chat: Chat) -> None:
    browser: Browser = signed_in.context.browser
    context = browser.new_context(
        base_url=live.base_url, storage_state=signed_in.context.storage_state(), java_script_enabled=False
    )
    page = context.new_page()
    page.goto(f"/chats/{chat.pk}/")
    page.get_by_label("Message", exact=True).fill("quote no script")
    page.get_by_role("button", name="Send", exact=True).dblclick(no_wait_after=True)
    expect(page.locator(FINISHED)).to_contain_text("no script", timeout=30_000)
    assert said(chat) == ["quote no script"]
    context.close()
