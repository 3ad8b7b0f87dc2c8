"""What people do, in a real Chromium, against the demo model."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat, Message, Reply
from chats.services import create_chat
from config.tests.live import LiveServer, wait_until
from conftest import PASSWORD

pytestmark = pytest.mark.browser

ANSWER = "article.from-model .prose"
FINISHED = "article.from-model:not([data-reply]) .prose"
ITEMS = 20
QUOTED = "# A list\n\n" + "\n".join(f"- Item {number} **stays**" for number in range(ITEMS))
PHONE = {"width": 390, "height": 844}


@pytest.fixture(autouse=True)
def _nothing_complained(page: Page) -> Iterator[None]:
    """No error in the console, which is where a browser says what its policy refused.

    But for requests that a test has refused or cut off.
    """
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield
    expected = ("status of 4", "response code: 4", "Error Code 4", "ERR_")
    assert not [complaint for complaint in complaints if not any(sign in complaint for sign in expected)]


def visit(page: Page, address: str) -> None:
    """Open a page and wait until all of it is there."""
    page.goto(address)
    wait_until(lambda: page.evaluate("Boolean(window.htmx)"), seconds=10, what="htmx is loaded")


def send(page: Page, text: str) -> None:
    expect(page.locator("html[data-script]")).to_be_attached()
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def text_length(page: Page) -> int:
    return len(page.locator(ANSWER).last.inner_text())


def test_sign_up_send_and_watch_it_grow(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Email").fill("new@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name=re.compile("create|sign up", re.IGNORECASE)).click()
    expect(page.get_by_role("heading", name=re.compile("What is on your mind"))).to_be_visible()
    send(page, "long answer")
    page.wait_for_url("**/chats/*/")
    expect(page.get_by_role("button", name="Stop the answer")).to_be_visible()
    expect(page.locator(ANSWER)).not_to_be_empty()
    first = text_length(page)
    wait_until(lambda: text_length(page) > first + 50, seconds=10, what="the text has grown")
    expect(page.get_by_role("link", name="long answer")).to_be_visible()


def test_reload_in_mid_stream_shows_everything_once(signed_in: Page, owner: User) -> None:
    page = signed_in
    page.goto("/")
    send(page, f"quote {QUOTED}")
    page.wait_for_url("**/chats/*/")
    wait_until(lambda: "Item 2" in page.locator(ANSWER).inner_text(), seconds=10, what="some text is there")
    seen = page.locator(ANSWER).inner_text()
    page.reload()
    wait_until(lambda: page.locator(ANSWER).inner_text()[:40] == seen[:40], seconds=5, what="the text is back")
    expect(page.locator(FINISHED)).to_be_visible()
    for number in range(ITEMS):
        assert page.locator(ANSWER).inner_text().count(f"Item {number} ") == 1
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    finished = page.locator(ANSWER).inner_text()
    page.reload()
    assert page.locator(ANSWER).inner_text() == finished


def test_what_streams_looks_like_what_stays(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    send(page, f"quote {QUOTED}")
    page.wait_for_url("**/chats/*/")
    # The last text before the finished message replaces it.
    page.evaluate(
        """() => {
            const article = document.querySelector("article[data-reply]");
            new MutationObserver(() => (window.streamed = article.querySelector(".prose").innerText))
                .observe(article, { childList: true, subtree: true, characterData: true });
        }"""
    )
    expect(page.locator(FINISHED)).to_be_visible()
    streamed = "".join(page.evaluate("window.streamed").split())
    assert "".join(page.locator(ANSWER).inner_text().split()).startswith(streamed)
    assert f"Item{ITEMS - 1}" in streamed


def test_stop_keeps_the_text_and_gives_the_box_back(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    send(page, "long answer")
    page.wait_for_url("**/chats/*/")
    wait_until(lambda: text_length(page) > 40, seconds=10, what="some text is there")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    assert text_length(page) > 40
    assert Reply.objects.get().status == "stopped"
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_retry_after_a_failure(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    send(page, "failure")
    retry = page.get_by_role("button", name="Try again")
    retry.click()
    expect(retry).to_be_hidden()
    expect(retry).to_be_visible()
    assert Reply.objects.count() == 2
    assert page.locator("article.from-model").count() == 1


def test_a_second_tab_sees_the_same_answer(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Shared")
    page.goto(f"/chats/{chat.pk}/")
    other = page.context.new_page()
    other.goto(f"/chats/{chat.pk}/")
    send(page, "quote two tabs")
    expect(other.locator(FINISHED)).to_contain_text("two tabs")
    expect(page.locator(FINISHED)).to_contain_text("two tabs")
    assert page.locator("article").count() == other.locator("article").count() == 2


def test_the_list_shows_when_another_chat_has_answered(signed_in: Page) -> None:
    page = signed_in
    visit(page, "/")
    send(page, f"quote {QUOTED}")
    page.wait_for_url("**/chats/*/")
    visit(page, "/")
    dot = page.locator(".chat-row .dot")
    expect(dot).to_be_attached()
    expect(dot).to_have_count(0)


def test_enter_pressed_many_times_sends_once(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Once")
    page.goto(f"/chats/{chat.pk}/")
    page.get_by_label("Message", exact=True).fill("quote once")
    page.evaluate("for (let i = 0; i < 5; i += 1) document.getElementById('composer').requestSubmit()")
    expect(page.locator(FINISHED)).to_be_visible()
    assert Message.objects.filter(role="user").count() == 1


def test_an_input_methods_enter_does_not_send(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    box = page.get_by_label("Message", exact=True)
    box.fill("日本")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    box.press("Shift+Enter")
    assert box.input_value() == "日本\n"
    assert not Message.objects.exists()


def test_a_failed_send_keeps_the_text_and_is_sent_again(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Flaky")
    page.goto(f"/chats/{chat.pk}/")
    page.route("**/send/", lambda route: route.abort())
    send(page, "quote still here")
    expect(page.get_by_text("This will be sent when it is back.")).to_be_visible()
    expect(page.get_by_role("button", name="Send again")).to_be_visible()
    assert page.get_by_label("Message", exact=True).input_value() == "quote still here"
    page.unroute("**/send/")
    expect(page.locator(FINISHED)).to_contain_text("still here")
    assert Message.objects.filter(role="user").count() == 1


def test_a_draft_survives_a_reload(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("half a thought")
    page.reload()
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thought")


def test_a_text_near_the_limit_is_counted_and_one_beyond_not_sent(signed_in: Page) -> None:
    page = signed_in
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("é" * 45_000)
    expect(page.get_by_text("90,000 of 100,000 bytes")).to_be_visible()
    send(page, "é" * 50_001)
    expect(page.get_by_text("This text is too long")).to_be_visible()
    assert not Message.objects.exists()


def test_offline_waits_and_sends_when_back(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Train")
    page.goto(f"/chats/{chat.pk}/")
    page.context.set_offline(True)
    expect(page.locator(".banner")).to_have_text(
        "You are offline. What you write is kept and can be sent when you are back."
    )
    expect(page.locator("#spoken")).to_contain_text("You are offline. What you write is kept")
    send(page, "quote tunnel")
    expect(page.get_by_text("This will be sent when you are back")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator(".banner")).to_be_hidden()
    expect(page.locator(FINISHED)).to_contain_text("tunnel")


def test_without_a_socket_events_carry_the_answer(signed_in: Page) -> None:
    page = signed_in
    # As behind a proxy that knows no WebSockets.
    page.route_web_socket("**/ws/**", lambda socket: socket.close(code=1011))
    page.goto("/")
    send(page, "quote through events")
    expect(page.locator(FINISHED)).to_contain_text("through events")


def test_rename_in_place(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Old name")
    visit(page, f"/chats/{chat.pk}/")
    page.locator(f"#chat-{chat.pk}").hover()
    page.get_by_label("Options for Old name").click()
    page.get_by_role("link", name="Rename").first.click()
    field = page.get_by_label("Title", exact=True)
    expect(field).to_be_focused()
    field.fill("New name")
    field.press("Enter")
    expect(page.get_by_role("link", name="New name")).to_be_focused()
    expect(page.locator("li li")).to_have_count(0)
    expect(page.get_by_role("heading", name="New name", level=1)).to_be_visible()
    chat.refresh_from_db()
    assert chat.title == "New name"


def test_news_of_a_chat_may_come_just_when_its_field_opens(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Old name")
    visit(page, f"/chats/{chat.pk}/")
    page.evaluate(
        """(id) => document.addEventListener("htmx:afterSwap", () => {
            const detail = { id, title: "From elsewhere", updated_at: new Date(), pinned: false, archived: false };
            document.dispatchEvent(new CustomEvent("parley:chat-changed", { detail }));
        })""",
        str(chat.pk),
    )
    page.locator(f"#chat-{chat.pk}").hover()
    page.get_by_label("Options for Old name").click()
    page.get_by_role("link", name="Rename").first.click()
    expect(page.get_by_label("Title", exact=True)).to_have_value("Old name")


def test_delete_and_undo(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Goodbye")
    visit(page, "/")
    row = page.locator(f"#chat-{chat.pk}")
    row.hover()
    page.get_by_label("Options for Goodbye").click()
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    assert Chat.objects.visible_to(owner).filter(pk=chat.pk).exists()


def test_undo_stays_as_long_as_someone_may_use_it(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Goodbye")
    page.clock.install()
    visit(page, "/")
    row = page.locator(f"#chat-{chat.pk}")
    row.hover()
    page.get_by_label("Options for Goodbye").click()
    row.get_by_role("button", name="Delete").click()
    undo = page.get_by_role("button", name="Undo")
    expect(page.locator("#spoken")).to_have_text("Chat deleted.")
    undo.focus()
    # A pointer that passes by, more than once, is no reason to go.
    for _ in range(2):
        page.locator(".toast").dispatch_event("pointerenter")
        page.locator(".toast").dispatch_event("pointerleave")
    page.clock.fast_forward(20_000)
    expect(undo).to_be_focused()
    undo.blur()
    page.clock.fast_forward(20_000)
    expect(undo).to_have_count(0)


def test_delete_of_the_open_chat_leads_home_with_undo(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Goodbye")
    page.goto(f"/chats/{chat.pk}/")
    page.get_by_label("Options for this chat").click()
    page.get_by_role("button", name="Delete").last.click()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_url(f"**/chats/{chat.pk}/")


def test_pin_moves_a_chat_up(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Keep")
    visit(page, "/")
    page.locator(f"#chat-{chat.pk}").hover()
    page.get_by_label("Options for Keep").click()
    page.get_by_role("button", name="Pin").click()
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()


def test_search_and_shortcuts(signed_in: Page, owner: User) -> None:
    page = signed_in
    for title in ("Bread", "Tides"):
        create_chat(owner, title=title)
    visit(page, "/")
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search chats by title")).to_be_focused()
    page.keyboard.type("tid")
    expect(page.get_by_role("link", name="Bread")).to_have_count(0)
    expect(page.get_by_role("link", name="Tides")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()


def test_more_chats_and_earlier_messages_come_on_scroll(signed_in: Page, owner: User) -> None:
    page = signed_in
    Chat.objects.bulk_create([Chat(user=owner, title=f"Number {number}") for number in range(45)])
    chat = create_chat(owner, title="Long")
    parent = None
    rows = []
    for number in range(90):
        parent = Message(chat=chat, role="user", content=f"Line {number}.\n" * 3, parent=parent)
        rows.append(parent)
    Message.objects.bulk_create(rows)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=parent)
    visit(page, f"/chats/{chat.pk}/")
    expect(page.locator("article")).to_have_count(40)
    expect(page.get_by_text("Line 89.").first).to_be_in_viewport()
    page.locator("[data-scroller]").evaluate("element => (element.scrollTop = -element.scrollHeight)")
    expect(page.locator("article")).to_have_count(80)
    expect(page.get_by_text("Line 50.").first).to_be_in_viewport()
    page.locator(".more").scroll_into_view_if_needed()
    expect(page.locator(".chat-row")).to_have_count(46)


def test_what_is_read_keeps_its_place_while_earlier_messages_come(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Long")
    rows: list[Message] = []
    for number in range(200):
        role = "assistant" if number % 2 else "user"
        text = f"Number {number}.\n\n" + "Some **words**. " * (number % 60)
        rows.append(Message(chat=chat, role=role, content=text, parent=rows[-1] if rows else None))
    Message.objects.bulk_create(rows)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=rows[-1])
    visit(page, f"/chats/{chat.pk}/")
    expect(page.get_by_text("Number 199.")).to_be_in_viewport()
    for shown in (40, 80, 120, 160):
        expect(page.locator("article")).to_have_count(shown)
        oldest = page.locator("article").first
        message = oldest.get_attribute("id")
        # Where it is at the moment in which the link to earlier ones comes into view.
        before = oldest.evaluate(
            """element => {
                document.querySelector(".earlier").scrollIntoView({ block: "start" });
                return element.getBoundingClientRect().y;
            }"""
        )
        expect(page.locator("article")).to_have_count(shown + 40)
        assert abs(page.locator(f"#{message}").bounding_box()["y"] - before) <= 2
    expect(page.get_by_text("Number 0.")).to_be_attached()
    expect(page.locator(".earlier")).to_have_count(0)


def test_a_long_chat_is_a_light_page(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Five hundred")
    text = "Some **words** of an answer. " * 12 + "\n\n```python\nprint(1)\n```"
    rows: list[Message] = []
    for number in range(500):
        role = "assistant" if number % 2 else "user"
        rows.append(Message(chat=chat, role=role, content=text, parent=rows[-1] if rows else None))
    Message.objects.bulk_create(rows)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=rows[-1])
    sizes: list[int] = []
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    cdp.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    visit(page, f"/chats/{chat.pk}/")
    expect(page.locator(".hljs-built_in").first).to_be_visible()
    # Each request, and the socket.
    assert len(sizes) + 1 <= 20
    assert sum(sizes) <= 400_000


def test_a_reader_who_went_back_stays_there(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Long")
    message = Message.objects.create(
        chat=chat, role="assistant", content="\n\n".join(f"Paragraph {n}." for n in range(80))
    )
    Chat.objects.filter(pk=chat.pk).update(current_leaf=message)
    page.goto(f"/chats/{chat.pk}/")
    send(page, "long answer")
    expect(page.locator("article[data-reply] .prose > .open-block")).to_be_visible()
    page.locator("[data-scroller]").evaluate("element => (element.scrollTop = -1200)")
    mark = page.get_by_text("Paragraph 60.")
    before = mark.bounding_box()["y"]
    length = text_length(page)
    wait_until(lambda: text_length(page) > length + 200, seconds=15, what="the text has grown")
    assert abs(mark.bounding_box()["y"] - before) < 2
    page.get_by_role("button", name="New text").click()
    expect(page.locator("article[data-reply] .open-block > :last-child")).to_be_in_viewport()


def test_the_drawer_of_a_phone(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="In the drawer")
    page.set_viewport_size(PHONE)
    page.goto("/")
    link = page.get_by_role("link", name="In the drawer")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="List of chats", exact=True).click()
    link.click()
    page.wait_for_url(f"**/chats/{chat.pk}/")


def test_a_chat_deleted_in_the_drawer_of_a_phone_can_be_brought_back(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Goodbye")
    page.set_viewport_size(PHONE)
    visit(page, "/")
    page.get_by_role("button", name="List of chats", exact=True).click()
    row = page.locator(f"#chat-{chat.pk}")
    row.hover()
    page.get_by_label("Options for Goodbye").click()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").click(timeout=4_000)
    expect(row).to_be_visible()
    assert page.locator("#sidebar").evaluate("element => element.matches(':popover-open')")
    assert Chat.objects.visible_to(owner).filter(pk=chat.pk).exists()


def test_nothing_scrolls_sideways_on_the_smallest_phone(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="W" * 200)
    wide = "| a | b | c | d | e | f |\n|-|-|-|-|-|-|\n|1|2|3|4|5|6|\n\n```\n" + "x" * 300 + "\n```\n\n" + "y" * 300
    message = Message.objects.create(chat=chat, role="assistant", content=wide)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=message)
    page.set_viewport_size({"width": 320, "height": 640})
    for address in ("/", f"/chats/{chat.pk}/", "/chats/", "/nothing/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.evaluate("document.querySelector('[data-scroller]')?.scrollWidth ?? 0") <= 320


def test_the_picker_chooses_who_answers(signed_in: Page, demo_model: AIModel) -> None:
    page = signed_in
    other = AIModel.objects.create(
        provider=demo_model.provider, name="Another demo", model_id="parley-demo-2", enabled=True, order=900
    )
    page.goto("/")
    page.locator("[data-picker] > summary").click()
    page.get_by_label("Another demo").check()
    send(page, "quote hello")
    page.wait_for_url("**/chats/*/")
    assert Reply.objects.get().model == other
    expect(page.locator(FINISHED)).to_contain_text("hello")


def test_copy_gives_the_text_as_the_model_wrote_it(signed_in: Page, owner: User) -> None:
    page = signed_in
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat = create_chat(owner, title="Copy")
    message = Message.objects.create(chat=chat, role="assistant", content="Some *words*.\n\n```python\nprint(1)\n```")
    Chat.objects.filter(pk=chat.pk).update(current_leaf=message)
    page.goto(f"/chats/{chat.pk}/")
    page.get_by_role("link", name="Copy this answer").click()
    read = "navigator.clipboard.readText()"
    wait_until(lambda: page.evaluate(read) == message.content, seconds=5, what="the answer is in the clipboard")
    page.get_by_role("button", name="Copy", exact=True).click()
    wait_until(lambda: page.evaluate(read) == "print(1)\n", seconds=5, what="the code is in the clipboard")
    expect(page.locator(".hljs-built_in")).to_have_text("print")


def test_the_theme_switch_works_at_once_and_stays(signed_in: Page) -> None:
    page = signed_in
    page.goto("/nothing/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    with page.expect_response("**/theme/"):
        page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.goto("/")
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("viewer", ["docs", "redoc"])
def test_the_viewers_of_the_schema_have_the_colours_of_the_system(page: Page, viewer: str) -> None:
    backgrounds = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.goto(f"/api/v1/{viewer}/")
        words = page.get_by_text("Everything the chat pages do")
        expect(words).to_be_visible()
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert words.evaluate("element => getComputedStyle(element).color") != backgrounds[-1]
    assert backgrounds[0] != backgrounds[1]


def test_without_javascript_everything_still_works(signed_in: Page, live: LiveServer) -> None:
    browser, state = signed_in.context.browser, signed_in.context.storage_state()
    context = browser.new_context(base_url=live.base_url, storage_state=state, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("quote no script")
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_url("**/chats/*/")
    expect(page.locator(FINISHED)).to_contain_text("no script", timeout=30_000)
    page.locator("summary[aria-label='Options for this chat']").click()
    page.get_by_role("button", name="Delete").last.click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(FINISHED)).to_contain_text("no script")
    context.close()
