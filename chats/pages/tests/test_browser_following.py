"""The page shows how its chat stands: versions switched in mid-answer, a socket that was away, a reply that is gone."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from accounts.models import User
from chats.branches import delete_branch
from chats.catalog.models import AIModel
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Chat, Message, Reply
from chats.pages.tests.test_browser import visit
from chats.replies.services import StartedReply, regenerate_message
from chats.services import append_message, create_chat
from config.tests.live import wait_until

pytestmark = pytest.mark.browser

WORDS = [f"word{number} " for number in range(40)]
SOME = 10


@pytest.fixture
def gate(fake_provider: FakeProvider, openai_model: AIModel) -> Iterator[threading.Event]:
    """The fake model says the first words, and the others once this is set."""
    gate = threading.Event()
    fake_provider.script("fake-1", Script(chunks=WORDS, gate=gate, gate_after=SOME))
    yield gate
    gate.set()


@pytest.fixture
def chat(owner: User, openai_model: AIModel) -> Chat:
    chat = create_chat(owner, title="Tides", model=openai_model)
    append_message(chat, role="user", content="Why are there tides?")
    append_message(chat, role="assistant", content="Because of the Moon.", model=openai_model)
    return chat


@pytest.fixture
def second(owner: User, chat: Chat, gate: threading.Event) -> StartedReply:
    """The second version of the answer, which is being written."""
    started = regenerate_message(owner, chat.messages.get(role="assistant"))
    wait_until(
        lambda: WORDS[SOME - 1] in Message.objects.get(pk=started.answer.pk).content,
        seconds=10,
        what="the first words are stored",
    )
    return started


@dataclass
class Line:
    """What lies between a page and the server: it can be cut, be slow, or go dead without a word."""

    routes: list[WebSocketRoute] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    was_late: bool = False
    is_down: bool = False
    is_slow: bool = False  # a page that follows is heard only after some more words have come
    is_dead: bool = False  # what is open now; who connects anew comes through

    def carry(self, route: WebSocketRoute) -> None:
        if self.is_down:
            route.close(code=1012)
            return
        server = route.connect_to_server()
        self.routes.append(route)
        route.on_message(lambda text: self._tell_server(route, server, str(text)))
        server.on_message(lambda text: self._tell_page(route, server, str(text)))

    def _tell_server(self, route: WebSocketRoute, server: WebSocketRoute, text: str) -> None:
        self.said.append(text)
        if self.is_slow and "reply.follow" in text:
            self.late, self.was_late = [text], True
        elif not self._is_lost(route):
            server.send(text)

    def _tell_page(self, route: WebSocketRoute, server: WebSocketRoute, text: str) -> None:
        if self._is_lost(route):
            return
        route.send(text)
        if self.late and "text.delta" in text:
            self.late.append(text)
        if len(self.late) > SOME:
            server.send(self.late[0])
            self.late = []

    def _is_lost(self, route: WebSocketRoute) -> bool:
        return self.is_dead and route is self.routes[0]

    def cut(self) -> None:
        self.is_down = True
        self.routes[-1].close(code=1012)


@pytest.fixture
def line(signed_in: Page) -> Line:
    line = Line()
    signed_in.route_web_socket("**/ws/**", line.carry)
    return line


def heard(page: Page, is_so: Callable[[], object], what: str) -> None:
    # Asking the page lets its events arrive.
    wait_until(lambda: page.evaluate("true") and is_so(), seconds=15, what=what)


def test_versions_are_switched_while_one_is_written(
    signed_in: Page, chat: Chat, second: StartedReply, gate: threading.Event
) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    growing = page.locator(f"article[data-reply='{second.reply.pk}'] .prose")
    expect(growing).to_contain_text("word9")
    stop, send = (page.get_by_role("button", name=name, exact=True) for name in ("Stop the answer", "Send"))
    expect(stop).to_be_visible()
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("Because of the Moon.")).to_be_visible()
    # What can't be seen can't be stopped, and does not keep one from writing.
    expect(send).to_be_visible()
    expect(stop).to_be_hidden()
    page.get_by_role("button", name="Next version").click()
    expect(growing).to_contain_text("word9")
    expect(stop).to_be_visible()
    gate.set()
    expect(page.locator("article[data-reply]")).to_have_count(0)
    expect(page.locator("article.from-model .prose")).to_have_text("".join(WORDS).strip())
    expect(send).to_be_visible()


def test_a_version_that_ends_out_of_sight_disturbs_nothing(
    signed_in: Page, chat: Chat, second: StartedReply, gate: threading.Event
) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    expect(page.locator("article[data-reply] .prose")).to_contain_text("word9")
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("Because of the Moon.")).to_be_visible()
    gate.set()
    expect(page.locator(f"#chat-{chat.pk} .dot")).to_have_count(0)
    expect(page.get_by_text("Because of the Moon.")).to_be_visible()
    expect(page.locator("article")).to_have_count(2)
    page.get_by_role("button", name="Next version").click()
    expect(page.locator("article.from-model:not([data-reply]) .prose")).to_contain_text("word39")


def test_words_that_come_before_a_version_is_followed_anew_leave_no_gap(
    signed_in: Page, owner: User, chat: Chat, fake_provider: FakeProvider, line: Line
) -> None:
    page = signed_in
    fake_provider.script("fake-1", Script(chunks=WORDS * 60, tokens_per_second=100))
    started = regenerate_message(owner, chat.messages.get(role="assistant"))
    visit(page, f"/chats/{chat.pk}/")
    growing = page.locator(f"article[data-reply='{started.reply.pk}'] .prose")
    expect(growing).to_contain_text("word9")
    line.is_slow = True
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("Because of the Moon.")).to_be_visible()
    page.get_by_role("button", name="Next version").click()
    expect(growing).to_contain_text("word9")
    # It may all have happened while the page was looked at.
    heard(page, lambda: line.was_late, "the page wants to follow")
    heard(page, lambda: not line.late, "words came before it did")
    length = len(growing.inner_text())
    heard(page, lambda: len(growing.inner_text()) > length + 60, "it grows")
    shown = growing.inner_text()
    assert shown == "".join(WORDS * 60)[: len(shown)]


def test_what_was_said_while_the_socket_was_away_appears(signed_in: Page, chat: Chat, line: Line) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    heard(page, lambda: line.routes, "the socket is open")
    line.cut()
    append_message(chat, role="user", content="And the Sun?")
    line.is_down = False
    expect(page.get_by_text("And the Sun?")).to_be_visible()


def test_what_was_said_before_the_socket_was_open_appears(signed_in: Page, chat: Chat) -> None:
    page = signed_in

    def speak_first(route: WebSocketRoute) -> None:
        append_message(chat, role="user", content="And the Sun?")
        route.connect_to_server()

    page.route_web_socket("**/ws/**", speak_first)
    visit(page, f"/chats/{chat.pk}/")
    expect(page.get_by_text("And the Sun?")).to_be_visible()


def test_what_is_said_elsewhere_appears_once_an_edit_is_left(signed_in: Page, chat: Chat) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    page.locator("article.from-user").hover()
    page.locator("[data-edit-link]").click()
    box = page.get_by_label("Your message", exact=True)
    expect(box).to_be_focused()
    append_message(chat, role="user", content="And the Sun?")
    # The list has heard of it, and so has the page.
    other = page.context.new_page()
    visit(other, f"/chats/{chat.pk}/")
    expect(other.get_by_text("And the Sun?")).to_be_visible()
    expect(page.locator(f"#chat-{chat.pk}")).to_be_visible()
    expect(box).to_be_focused()
    expect(page.get_by_text("And the Sun?")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_text("And the Sun?")).to_be_visible()
    expect(box).to_have_count(0)


@pytest.fixture
def elsewhere(chat: Chat, run_elsewhere: Callable[[Chat], Reply]) -> Reply:
    return run_elsewhere(chat)


def test_what_was_deleted_while_the_socket_was_away_is_gone(
    signed_in: Page, chat: Chat, elsewhere: Reply, line: Line
) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    heard(page, lambda: line.routes, "the socket is open")
    expect(page.get_by_role("button", name="Stop the answer")).to_be_visible()
    line.cut()
    delete_branch(elsewhere.prompt)
    line.is_down = False
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(page.get_by_text("So far")).to_have_count(0)
    expect(page.locator("article")).to_have_count(2)


def test_without_a_socket_an_answer_that_is_deleted_lets_one_write(
    signed_in: Page, chat: Chat, elsewhere: Reply
) -> None:
    page = signed_in
    page.route_web_socket("**/ws/**", lambda socket: socket.close(code=1011))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events/" in request.url else None)
    visit(page, f"/chats/{chat.pk}/")
    heard(page, lambda: asked, "events carry the answer")
    expect(page.get_by_role("button", name="Stop the answer")).to_be_visible()
    delete_branch(elsewhere.message)
    Reply.objects.filter(pk=elsewhere.pk).update(status=Reply.Status.STOPPED)  # as the node that runs it does
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(page.locator("article[data-reply]")).to_have_count(0)


@pytest.fixture
def clocked(signed_in: Page) -> Page:
    """A page whose time can be put forward, and which counts how often it was told what is answering."""
    signed_in.clock.install()
    count = "document.addEventListener('parley:answering', () => (window.told = (window.told ?? 0) + 1))"
    signed_in.add_init_script(count)
    return signed_in


def is_told(page: Page, times: int) -> None:
    wait_until(lambda: page.evaluate("window.told") == times, seconds=15, what=f"the page was told {times} times")


@pytest.mark.parametrize("sign", ["silence", "return"])
def test_a_connection_that_died_without_a_word_is_replaced(clocked: Page, chat: Chat, line: Line, sign: str) -> None:
    page = clocked
    visit(page, f"/chats/{chat.pk}/")
    is_told(page, 1)
    line.is_dead = True
    append_message(chat, role="user", content="And the Sun?")
    if sign == "silence":
        page.clock.fast_forward(50_000)
    else:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    heard(page, lambda: len(line.said) == 2, "the page asks whether anyone is there")
    page.clock.fast_forward(11_000)
    heard(page, lambda: len(line.routes) == 2, "it connects anew")
    expect(page.get_by_text("And the Sun?")).to_be_visible()


def test_a_silent_connection_that_lives_is_kept(clocked: Page, chat: Chat, line: Line) -> None:
    page = clocked
    visit(page, f"/chats/{chat.pk}/")
    is_told(page, 1)
    for times in (2, 3):
        page.clock.fast_forward(50_000)
        is_told(page, times)
        page.clock.fast_forward(11_000)
    append_message(chat, role="user", content="And the Sun?")
    expect(page.get_by_text("And the Sun?")).to_be_visible()
    assert len(line.routes) == 1


def test_focus_stays_where_it_is_when_the_finished_answer_comes(
    signed_in: Page, owner: User, chat: Chat, fake_provider: FakeProvider
) -> None:
    page, gate = signed_in, threading.Event()
    fake_provider.script("fake-1", Script(reasoning=["Hm."], chunks=WORDS, gate=gate, gate_after=SOME))
    regenerate_message(owner, chat.messages.get(role="assistant"))
    visit(page, f"/chats/{chat.pk}/")
    expect(page.locator("article[data-reply] .prose")).to_contain_text("word9")
    page.locator("article[data-reply] .reasoning summary").focus()
    gate.set()
    expect(page.locator("article[data-reply]")).to_have_count(0)
    expect(page.locator(".reasoning summary")).to_be_focused()
    # Said elsewhere, which brings the log anew.
    append_message(chat, role="user", content="And the Sun?")
    expect(page.get_by_text("And the Sun?")).to_be_visible()
    expect(page.locator(".reasoning summary")).to_be_focused()


def test_focus_goes_to_the_message_when_its_control_is_gone(
    signed_in: Page, chat: Chat, second: StartedReply, gate: threading.Event
) -> None:
    page = signed_in
    visit(page, f"/chats/{chat.pk}/")
    expect(page.locator("article[data-reply] .prose")).to_contain_text("word9")
    # As a link in what streams, which is none in what stays.
    page.evaluate(
        "document.querySelector('article[data-reply] .author').insertAdjacentHTML('beforeend', '<b tabindex=0>')"
    )
    page.locator("article[data-reply] b").focus()
    gate.set()
    expect(page.locator("article[data-reply]")).to_have_count(0)
    expect(page.locator(f"#message-{second.answer.pk}")).to_be_focused()


def test_an_answer_that_no_server_has_taken_up_says_so(signed_in: Page, owner: User, chat: Chat) -> None:
    page = signed_in
    asked = append_message(chat, role="user", content="And the Sun?")
    answer = append_message(chat, role="assistant", content="", parent=asked)
    # Behind another one that never ends, as if all servers were busy.
    Reply.objects.create(chat=chat, user=owner, prompt=asked, status=Reply.Status.WAITING)
    reply = Reply.objects.create(chat=chat, user=owner, prompt=asked, message=answer)
    Message.objects.filter(pk=answer.pk).update(reply=reply)
    visit(page, f"/chats/{chat.pk}/")
    expect(page.get_by_text("Waiting for a server that is free")).to_be_visible()
    Reply.objects.filter(chat=chat).update(status=Reply.Status.STOPPED)
