"""Branches as people use them: versions in place, an edit, a continuation, a deletion, by pointer and by keyboard."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from chats.branches import delete_branch
from chats.catalog.models import AIModel
from chats.llm.demo import answer_to
from chats.models import Chat, Message, Reply
from chats.pages.tests.test_browser import PHONE, visit
from chats.pages.tests.test_browser_access import THEMES, complaints
from chats.services import append_message, create_chat, update_chat
from chats.usage.models import UsageRecord

pytestmark = pytest.mark.browser

WHOLE = answer_to("And the Sun?")
PART = WHOLE[:14]


@pytest.fixture
def tree(owner: User, demo_model: AIModel) -> dict[str, Message | Chat]:
    """A question with two answers; below the first one another question and an answer that broke off."""
    chat = create_chat(owner, title="Tides", model=demo_model)
    question = append_message(chat, role="user", content="Why are there tides?")
    first = append_message(chat, role="assistant", content="Because of the Moon.", model=demo_model)
    below = append_message(chat, role="user", content="And the Sun?")
    part = append_message(chat, role="assistant", content=PART, model=demo_model)
    reply = Reply.objects.create(
        chat=chat, user=owner, prompt=below, message=part, model=demo_model, status=Reply.Status.STOPPED
    )
    Message.objects.filter(pk=part.pk).update(reply=reply)
    second = append_message(chat, role="assistant", content="Gravity.", parent=question, model=demo_model)
    update_chat(chat, current_leaf=first.pk)
    return {"chat": chat, "question": question, "first": first, "second": second, "part": part}


def open_tree(page: Page, tree) -> None:
    visit(page, f"/chats/{tree['chat'].pk}/")


def test_versions_are_leafed_through_in_place_and_focus_stays(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    expect(page.get_by_text("You said:")).to_be_visible()
    page.get_by_role("button", name="Next version").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Gravity.")).to_be_visible()
    expect(page.get_by_text("2 of 2")).to_be_visible()
    expect(page.get_by_role("button", name="Next version")).to_be_focused()
    expect(page.get_by_text("You said:")).to_have_count(0)
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("You said:")).to_be_visible()
    assert page.url.endswith(f"/chats/{tree['chat'].pk}/")


def test_an_edit_opens_in_place_and_escape_leaves_it(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    pencil = page.locator(f"#message-{tree['question'].pk} [data-edit-link]")
    pencil.click()
    box = page.get_by_label("Your message", exact=True)
    expect(box).to_be_focused()
    expect(box).to_have_value("Why are there tides?")
    page.keyboard.type(" Really?")
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    expect(pencil).to_be_focused()
    pencil.click()
    expect(box).to_be_focused()
    box.fill("Why are there two tides a day?")
    page.keyboard.press("Enter")
    expect(page.locator("article.from-user .bubble")).to_have_text(["Why are there two tides a day?"])
    expect(page.locator("article.from-model:not([data-reply]) .prose")).not_to_be_empty()
    expect(page.get_by_text("2 of 2")).to_be_visible()
    assert Message.objects.filter(role="user", parent__isnull=True).count() == 2


def test_the_up_arrow_in_an_empty_box_edits_the_last_message(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    composer, edit = page.get_by_label("Message", exact=True), page.get_by_label("Your message", exact=True)
    composer.fill("words")
    composer.press("ArrowUp")
    composer.fill("")
    composer.press("Shift+ArrowUp")
    expect(edit).to_have_count(0)
    composer.press("ArrowUp")
    expect(edit).to_be_focused()
    expect(edit).to_have_value("And the Sun?")
    page.keyboard.press("Escape")
    expect(edit).to_have_count(0)
    expect(composer).to_be_focused()
    page.get_by_role("button", name="Next version").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_contain_text("edit your last message")


def test_a_fork_says_what_it_is_and_leads_back(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    answer = page.locator(f"#message-{tree['first'].pk}")
    answer.hover()
    answer.locator("summary[aria-label='More for this answer']").click()
    page.get_by_role("button", name="New chat from here").click()
    expect(page.get_by_role("heading", name="Tides (fork)", level=1)).to_be_visible()
    expect(page.locator(".chat-row .chat-title")).to_have_text(["Tides (fork)", "Tides"])
    expect(page.get_by_text("Taken from «Tides»")).to_be_visible()
    page.get_by_role("link", name="«Tides»").click()
    expect(page.get_by_role("heading", name="Tides", level=1)).to_be_visible()


def test_an_answer_goes_on_from_where_it_stopped(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    what_stays = page.get_by_text("this answer and what follows it stay as another version")
    expect(what_stays).to_be_hidden()
    append_message(tree["chat"], role="user", content="And Mars?")
    open_tree(page, tree)
    expect(what_stays).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    answer = page.locator("article.from-model").last
    expect(answer).to_contain_text("2 of 2")
    expect(page.locator("article[data-reply]")).to_have_count(0)
    expect(answer.locator(".prose")).to_contain_text("A real model would answer that.")
    assert Message.objects.get(pk=answer.get_attribute("data-message")).content == WHOLE


def test_an_answer_of_a_program_is_given_again(signed_in: Page, tree) -> None:
    page = signed_in
    delete_branch(tree["first"])
    open_tree(page, tree)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("2 of 2")).to_be_visible()
    expect(page.locator("article.from-model:not([data-reply])")).to_have_count(1)
    assert tree["question"].children.count() == 2


def test_a_question_whose_answer_was_deleted_is_answered(signed_in: Page, tree) -> None:
    page = signed_in
    delete_branch(tree["first"])
    open_tree(page, tree)
    page.locator("summary[aria-label='More for this answer']").click()
    page.get_by_role("link", name="Delete from here on").click()
    page.get_by_role("button", name="Delete 1 message").click()
    expect(page.locator("article")).to_have_count(1)
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("article.from-model:not([data-reply]) .prose")).to_contain_text("Why are there tides?")
    expect(page.locator("article")).to_have_count(2)
    expect(page.get_by_text("Nobody has answered this yet.")).to_have_count(0)
    assert tree["chat"].messages.count() == 2


def test_a_branch_is_deleted_after_one_has_seen_what_goes(signed_in: Page, tree) -> None:
    page = signed_in
    open_tree(page, tree)
    page.locator(f"#message-{tree['first'].pk}").hover()
    page.locator(f"#message-{tree['first'].pk} summary[aria-label='More for this answer']").click()
    page.get_by_role("link", name="Delete from here on").click()
    button = page.get_by_role("button", name="Delete 3 messages")
    # Whoever presses Enter too often must not delete anything.
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button).to_have_count(0)
    page.locator(f"#message-{tree['first'].pk} summary[aria-label='More for this answer']").click()
    page.get_by_role("link", name="Delete from here on").click()
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_have_count(0)
    page.locator(f"#message-{tree['first'].pk} summary[aria-label='More for this answer']").click()
    page.get_by_role("link", name="Delete from here on").click()
    button.click()
    expect(page.get_by_text("Gravity.")).to_be_visible()
    assert tree["chat"].messages.count() == 2


def test_the_page_that_deletes_a_branch_offers_the_way_out_first(signed_in: Page, tree) -> None:
    page = signed_in
    page.goto(f"/messages/{tree['first'].pk}/delete/")
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/chats/{tree['chat'].pk}/*")
    assert tree["chat"].messages.count() == 5


@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE])
def test_a_form_opens_below_its_message_which_stays_where_it_is(signed_in: Page, owner: User, size) -> None:
    chat = create_chat(owner, title="Long")
    for number in range(12):
        role = "assistant" if number % 2 else "user"
        append_message(chat, role=role, content=f"Message {number}. " * (60 if role == "assistant" else 1))
    page = signed_in
    page.set_viewport_size(size)
    visit(page, f"/chats/{chat.pk}/")
    for article in page.locator("article.from-user").all()[-3:]:
        article.evaluate("element => element.scrollIntoView({ block: 'center' })")
        article.locator("summary").click()
        place = article.bounding_box()
        article.get_by_role("link", name="Delete from here on").click()
        panel = article.locator("[data-panel]")
        expect(panel.locator(":focus")).to_have_count(1)
        expect(panel).to_be_in_viewport(ratio=1)
        assert article.bounding_box()["y"] == pytest.approx(place["y"], abs=1)
        tools = article.locator(".meta").bounding_box()
        assert tools["y"] + tools["height"] < panel.bounding_box()["y"]
        page.keyboard.press("Escape")


def test_facts_that_have_no_room_beside_the_tools_stand_in_line_with_the_text(signed_in: Page, tree) -> None:
    page = signed_in
    part = tree["part"]
    reply = Reply.objects.get(message=part)
    UsageRecord.objects.create(user=reply.user, chat=reply.chat, message=part, reply=reply, output_tokens=1_234_567)
    page.set_viewport_size({"width": 300, "height": 700})
    open_tree(page, tree)
    answer = page.locator(f"#message-{part.pk}")
    facts, tools, text = (answer.locator(place).bounding_box() for place in (".meta-facts", ".meta-actions", ".prose"))
    assert facts["y"] >= tools["y"] + tools["height"]
    assert facts["x"] == text["x"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE])
def test_axe_finds_nothing(signed_in: Page, tree, theme: str, size) -> None:
    page = signed_in
    # What fades in has too little contrast while it does.
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size(size)
    open_tree(page, tree)
    assert complaints(page) == []
    page.locator(f"#message-{tree['question'].pk} [data-edit-link]").click()
    expect(page.get_by_label("Your message", exact=True)).to_be_focused()
    assert complaints(page) == []
    page.keyboard.press("Escape")
    for name in ("Try again with", "Delete from here on"):
        page.locator(f"#message-{tree['first'].pk} summary[aria-label='More for this answer']").click()
        assert complaints(page) == []
        page.get_by_role("link", name=name).click()
        expect(page.locator("[data-panel]")).to_have_count(1)
        assert complaints(page) == []
    for verb in ("edit", "delete"):
        page.goto(f"/messages/{tree['question'].pk}/{verb}/")
        assert complaints(page) == []
