"""Calls of tools in a real Chromium: they run before one's eyes, wait for a word, and look the same after a reload."""

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from chats.llm.tests.fake_provider import Script
from chats.models import ToolCall
from chats.pages.tests.payloads import PAYLOADS
from chats.pages.tests.test_browser import FINISHED, PHONE, _nothing_complained, send, visit  # noqa: F401 - autouse
from chats.pages.tests.test_browser_access import THEMES, complaints
from chats.pages.tests.test_browser_safety import _nothing_left_the_house  # noqa: F401 - autouse
from chats.replies.services import StartedReply
from chats.replies.tests.stage import LOOK, SEND, Stage, calling, ended, waiting
from chats.services import create_chat
from chats.tools.tests.fake_server import FakeTool

pytestmark = pytest.mark.browser

CARD = ".approval"
MAIL = calling(("fake__send_mail", {"to": "ada@example.org"}), text="I will send it.")
DONE = Script(text="The mail is out.")
SIZES = [{"width": 1280, "height": 800}, PHONE]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def ask(page: Page, stage: Stage, text: str = "Do it") -> None:
    """In a chat of its own, of the model that calls tools."""
    chat = create_chat(stage.owner, title="Tools")
    visit(page, f"/chats/{chat.pk}/")
    page.locator("[data-picker] > summary").click()
    page.locator(".choice").filter(has_text="Fake model").click()
    send(page, text)


def open_waiting(page: Page, stage: Stage, *steps: Script) -> StartedReply:
    stage.model_does(*(steps or (MAIL, DONE)))
    started = stage.ask()
    waiting(started.reply)
    visit(page, f"/chats/{started.chat.pk}/")
    expect(page.locator(CARD).first).to_be_visible()
    return started


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def call(page: Page, title: str):
    return page.locator("details.call").filter(has_text=title)


def test_from_a_question_by_a_result_and_an_approval_to_the_answer(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    stage.model_does(calling(("fake__look_up", {"city": "Bergen"}), text="Let me see."), MAIL, DONE)
    ask(page, stage)
    expect(page.locator(CARD)).to_contain_text("ada@example.org")
    expect(page.locator("#spoken")).to_have_text("send_mail of Fake waits for your approval.")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(page.get_by_text("Waiting for your approval, above.")).to_be_visible()
    expect(page.locator(".chat-row .dot")).to_have_text("waits for your approval")
    # Meanwhile one looks at what came of the first.
    call(page, "look_up").locator("summary").click()
    expect(call(page, "look_up")).to_contain_text("Found {'city': 'Bergen'}")
    button(page, "Approve once").focus()
    page.keyboard.press("Enter")
    expect(page.locator(FINISHED).last).to_have_text("The mail is out.")
    expect(page.locator(CARD)).to_have_count(0)
    expect(call(page, "send_mail")).to_contain_text("done")
    expect(call(page, "look_up")).to_have_attribute("open", "")
    assert page.evaluate("document.activeElement.closest('details.call') !== null")
    assert stage.mcp.calls == {"look_up": 1, "send_mail": 1}
    assert page.locator(".author").count() == page.locator(".meta-facts").count() == 1
    texts = page.locator("article.from-model").all_inner_texts()
    page.reload()
    expect(call(page, "send_mail")).to_be_visible()
    assert [text.split("\n")[0] for text in page.locator("article.from-model").all_inner_texts()] == [
        text.split("\n")[0] for text in texts
    ]


def test_a_denial_tells_the_model_why(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    open_waiting(page, stage, MAIL, Script(text="Then not."))
    page.get_by_label("Reason for the model, if you like").fill("Ask Ada first")
    # Enter in the field of a reason approves nothing.
    page.keyboard.press("Enter")
    expect(page.locator(FINISHED).last).to_have_text("Then not.")
    call(page, "send_mail").locator("summary").click()
    expect(call(page, "send_mail")).to_contain_text("You denied it")
    assert stage.mcp.calls == {}
    told = stage.provider.requests[-1].body["messages"][-1]
    assert (told["role"], "«Ask Ada first»" in told["content"]) == ("tool", True)


def test_a_call_that_runs_is_stopped(signed_in: Page, stage: Stage, gate: threading.Event) -> None:
    page = signed_in
    stage.mcp.tools = [
        SEND,
        FakeTool("dig", annotations=LOOK.annotations, gate=gate, progress=[(3, 10, "at <b>3</b>")]),
    ]
    stage.look()
    stage.model_does(calling(("fake__dig", {}), text="Digging."), DONE)
    ask(page, stage)
    expect(call(page, "dig")).to_contain_text("running")
    expect(page.locator("[data-progress]")).to_have_text("30 % · at <b>3</b>")
    expect(page.locator("[data-seconds]")).to_have_text(re.compile(r"[1-9]\d* s"))
    assert stage.mcp.wait_calls("dig")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    expect(call(page, "dig").locator("summary")).not_to_contain_text("running")
    expect(button(page, "Send")).to_be_visible()
    assert stage.mcp.wait_cancelled()
    button(page, "Try again").click()
    expect(call(page, "dig")).to_have_count(1)
    gate.set()
    expect(page.locator(FINISHED).last).to_have_text("The mail is out.")
    expect(page.locator(".author")).to_have_count(1)


def test_a_second_tab_and_a_reload_show_the_same(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    two = calling(("fake__send_mail", {"to": "ada"}), ("fake__send_mail", {"to": "bob"}))
    started = open_waiting(page, stage, two, DONE)
    other = page.context.new_page()
    visit(other, f"/chats/{started.chat.pk}/")
    page.get_by_label("Reason for the model, if you like").last.fill("half a rea")
    first = page.locator(CARD).filter(has_text='"ada"')
    first.get_by_role("button", name="Deny").click()
    for tab in (page, other):
        expect(call(tab, "denied")).to_have_count(1)
        expect(tab.locator(CARD)).to_have_count(1)
    # What one writes meanwhile stays.
    expect(page.get_by_label("Reason for the model, if you like")).to_have_value("half a rea")
    page.reload()
    expect(page.locator(CARD)).to_contain_text('"bob"')
    button(page, "Approve once").click()
    for tab in (page, other):
        expect(tab.locator(FINISHED).last).to_have_text("The mail is out.")
        expect(tab.locator("details.call")).to_have_count(2)
    assert stage.mcp.calls == {"send_mail": 1}


def test_who_decides_second_learns_who_was_first(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    # A page that is told nothing.
    page.route_web_socket("**/ws/**", lambda _: None)
    open_waiting(page, stage)
    stage.decide(ToolCall.objects.select_related("reply").get(), approved=False)
    button(page, "Approve once").click()
    expect(page.get_by_text("You had decided already")).to_be_visible()
    assert stage.mcp.calls == {}


def test_a_waiting_answer_is_stopped_or_left_for_something_else(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    open_waiting(page, stage)
    button(page, "Stop the answer").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    expect(page.locator(CARD)).to_have_count(0)
    expect(page.get_by_text("Waiting for your approval, above.")).to_be_hidden()
    send(page, "Once more")
    expect(page.locator(CARD)).to_be_visible()
    send(page, "Never mind")
    expect(page.get_by_text("Never mind")).to_be_visible()
    expect(page.locator(CARD)).to_have_count(1)
    expect(page.locator("details.call").filter(has_text="stopped")).to_have_count(2)
    expect(page.locator("article.from-user")).to_have_count(3)
    assert stage.mcp.calls == {}


def test_a_connection_that_was_away_while_it_went_on(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    started = open_waiting(page, stage)
    page.context.set_offline(True)
    expect(page.locator(".banner")).to_be_visible()
    stage.decide(ToolCall.objects.select_related("reply").get())
    ended(started.reply)
    page.context.set_offline(False)
    expect(page.locator(FINISHED).last).to_have_text("The mail is out.")
    expect(page.locator(CARD)).to_have_count(0)


def test_without_a_socket_events_carry_it(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    page.route_web_socket("**/ws/**", lambda socket: socket.close(code=1011))
    stage.model_does(calling(("fake__look_up", {}), text="Let me see."), MAIL, DONE)
    ask(page, stage)
    button(page, "Approve once").click()
    expect(page.locator(FINISHED).last).to_have_text("The mail is out.")
    expect(page.locator("details.call")).to_have_count(2)


def test_without_scripts_a_form_decides_and_links_show_what_came_of_it(plain: Page, stage: Stage) -> None:
    stage.model_does(calling(("fake__look_up", {"city": "Bergen"})), MAIL, DONE)
    started = stage.ask()
    waiting(started.reply)
    plain.goto(f"/chats/{started.chat.pk}/")
    expect(plain.get_by_label("Message", exact=True)).to_be_visible()
    call(plain, "look_up").locator("summary").click()
    plain.get_by_role("link", name="What was asked and what came of it").click()
    expect(plain.get_by_text("Found {'city': 'Bergen'}")).to_be_visible()
    plain.get_by_role("link", name="Back to the chat").click()
    button(plain, "Approve once").click()
    expect(plain.locator(FINISHED).last).to_have_text("The mail is out.", timeout=30_000)
    assert stage.mcp.calls["send_mail"] == 1


def test_whose_tools_are_used_is_chosen_in_the_box(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    stage.model_does(Script(text="Without."))
    chat = create_chat(stage.owner, title="Tools")
    visit(page, f"/chats/{chat.pk}/")
    page.locator("[data-picker] > summary").click()
    page.locator(".choice").filter(has_text="Fake model").click()
    page.locator("[data-tools] > summary").click()
    expect(page.get_by_text("The model that is chosen now calls no tools.")).to_be_hidden()
    page.locator("[data-tools] .choice").click()
    expect(page.locator("[data-tools-name]")).to_have_text("No tools")
    page.keyboard.press("Escape")
    send(page, "Do it")
    expect(page.locator(FINISHED).last).to_have_text("Without.")
    assert "tools" not in stage.provider.requests[-1].body
    page.reload()
    expect(page.locator("[data-tools-name]")).to_have_text("No tools")


def test_nothing_hostile_acts_from_a_card_or_a_result(signed_in: Page, stage: Stage) -> None:
    page = signed_in
    texts = [payload.replace("\0", "") for payload in PAYLOADS]
    hostile = FakeTool(
        "look_up",
        "Looks something up",
        annotations=LOOK.annotations,
        run=lambda _: {
            "content": [{"type": "text", "text": text} for text in texts],
            "structuredContent": {"x": texts},
        },
    )
    stage.mcp.tools = [hostile, SEND]
    open_waiting(
        page, stage, calling(("fake__look_up", {"x": texts})), calling(("fake__send_mail", {"x": texts})), DONE
    )
    call(page, "look_up").locator("summary").click()
    expect(page.locator(".call-text").first).to_be_visible()
    assert page.locator(".call-text :not(br)").count() == 0
    expect(page.locator(".call-text")).to_have_count(len(texts) + 3)


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing(signed_in: Page, stage: Stage, gate: threading.Event, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    slow = FakeTool("dig", annotations=LOOK.annotations, gate=gate)
    stage.mcp.tools = [LOOK, SEND, slow]
    stage.look()
    stage.let("send_mail", "allow")
    more = [("fake__send_mail", {"to": "ada"}), ("fake__nothing", {}), ("fake__dig", {})]
    stage.model_does(calling(("fake__look_up", {"q": 1})), calling(*more, text="On it."), DONE)
    ask(page, stage)
    expect(page.locator("[data-state=running]")).to_be_visible()
    for size in SIZES:
        page.set_viewport_size(size)
        assert complaints(page) == []
    call(page, "look_up").locator("summary").click()
    expect(call(page, "look_up").locator("pre").first).to_be_visible()
    gate.set()
    expect(page.get_by_text("Waiting for your approval, above.")).to_be_visible()
    page.locator("[data-tools] > summary").click()
    for size in SIZES:
        page.set_viewport_size(size)
        assert complaints(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    button(page, "Approve once").click()
    expect(page.locator(FINISHED).last).to_have_text("The mail is out.")
    assert complaints(page) == []
    page.goto(f"/tool-calls/{ToolCall.objects.earliest('step').pk}/")
    assert complaints(page) == []
