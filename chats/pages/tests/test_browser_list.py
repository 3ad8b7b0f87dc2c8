"""The list of chats beside the conversation stays up to date by itself, in every tab."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Chat
from chats.pages.tests.test_browser import visit
from chats.replies.services import start_reply
from chats.services import append_message, create_chat, delete_chat, update_chat
from config.tests.live import wait_until

pytestmark = pytest.mark.browser


@pytest.fixture
def gate(fake_provider: FakeProvider, openai_model: AIModel) -> Iterator[threading.Event]:
    """The fake model answers once this is set."""
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="Here.", gate=gate))
    yield gate
    gate.set()


def watching(page: Page, address: str) -> Page:
    """The page at `address`, once its socket hears of all chats."""
    heard: list[object] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(frame)))  # noqa: PLW0108 - Playwright marks the function
    visit(page, address)
    # Asking the page lets its events arrive.
    wait_until(lambda: page.evaluate("true") and heard, seconds=10, what="the page hears of all chats")
    return page


def dot_of(page: Page, chat: Chat) -> Locator:
    return page.locator(f"#chat-{chat.pk} .dot")


def test_every_tab_shows_which_chats_are_answering(signed_in: Page, owner: User, gate: threading.Event) -> None:
    chat, other = create_chat(owner, title="Answering"), create_chat(owner, title="Another")
    home, elsewhere = signed_in, signed_in.context.new_page()
    watching(home, "/")
    watching(elsewhere, f"/chats/{other.pk}/")
    requests: list[str] = []
    for page in (home, elsewhere):
        page.on("request", lambda request: requests.append(request.url))
    start_reply(owner, chat_id=chat.pk, content="Why?", model="fake-1")
    for page in (home, elsewhere):
        expect(dot_of(page, chat)).to_be_visible()
        expect(page.locator(".chat-row .chat-title").first).to_have_text("Answering")
    gate.set()
    for page in (home, elsewhere):
        expect(dot_of(page, chat)).to_have_count(0)
    assert requests == []


def test_the_list_follows_titles_new_pinned_and_deleted_chats(signed_in: Page, owner: User) -> None:
    page = signed_in
    chats = [create_chat(owner, title=f"Chat {number}") for number in range(3)]
    watching(page, "/")
    titles = page.locator(".chat-row .chat-title")
    expect(titles).to_have_text(["Chat 2", "Chat 1", "Chat 0"])
    update_chat(chats[1], title="Renamed")
    expect(titles).to_have_text(["Chat 2", "Renamed", "Chat 0"])
    expect(page.locator("summary[aria-label='Options for Renamed']")).to_have_count(1)
    append_message(chats[0], role="user", content="Up")
    expect(titles).to_have_text(["Chat 0", "Chat 2", "Renamed"])
    delete_chat(chats[2])
    expect(titles).to_have_text(["Chat 0", "Renamed"])
    create_chat(owner, title="New")
    expect(titles).to_have_text(["New", "Chat 0", "Renamed"])
    update_chat(chats[1], pinned=True)
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    expect(titles).to_have_text(["Renamed", "New", "Chat 0"])


def test_what_changed_while_the_socket_was_away_is_caught_up_with(
    signed_in: Page, owner: User, gate: threading.Event
) -> None:
    page = signed_in
    chat = create_chat(owner, title="Before")
    routes: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        route.connect_to_server()
        routes.append(route)

    page.route_web_socket("**/ws/**", pass_on)
    visit(page, "/")
    wait_until(lambda: page.evaluate("true") and routes, seconds=10, what="the socket is open")
    routes[0].close(code=1012)
    update_chat(chat, title="After")
    start_reply(owner, chat_id=chat.pk, content="Why?", model="fake-1")
    expect(page.locator(".chat-row .chat-title")).to_have_text(["After"])
    expect(dot_of(page, chat)).to_be_visible()


def test_a_chat_deleted_elsewhere_says_so_where_it_is_open(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Goodbye")
    watching(page, f"/chats/{chat.pk}/")
    page.get_by_label("Message", exact=True).fill("still writing")
    delete_chat(chat)
    expect(page.get_by_text("This chat was deleted in another window.")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_value("still writing")
