"""Adding files to a chat where one writes, in a real Chromium."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.models import User
from chats.knowledge.models import Document, DocumentVersion
from chats.models import Chat
from chats.pages.tests.test_browser import (  # noqa: F401 - the fixture is autouse
    FINISHED,
    PHONE,
    _nothing_complained,
    send,
    visit,
)
from chats.pages.tests.test_browser_access import THEMES, complaints
from chats.pages.tests.test_browser_documents import DROP, SIZES
from chats.pages.tests.test_documents import READING, make_document
from chats.services import create_chat

pytestmark = pytest.mark.browser

MANUAL = "The battery of the HX-9 lasts 24 months."
PASTE = """
    (content) => {
        const data = new DataTransfer();
        data.items.add(new File([content], "pasted.txt"));
        const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        document.getElementById("content").dispatchEvent(event);
    }
"""


def chip(page: Page, name: str):
    return page.locator(".attached-file").filter(has_text=name)


def own(chat: Chat, name: str, **fields: object) -> Document:
    document = make_document(chat.user, name, **fields)
    Document.objects.filter(pk=document.pk).update(chat=chat.pk)
    return document


def test_from_a_dropped_file_to_an_answer_from_it(signed_in: Page, owner: User, tmp_path: Path) -> None:
    page = signed_in
    chat = create_chat(owner, title="Station")
    visit(page, f"/chats/{chat.pk}/")
    page.evaluate(DROP, [["manual.txt", MANUAL], ["empty.txt", ""]])
    assert page.evaluate("window.sign") == "grid"
    expect(chip(page, "manual.txt")).to_have_attribute("data-status", "ready")
    expect(page.locator("[data-documents-name]")).to_have_text("All documents")
    expect(page.locator(".upload-line")).to_contain_text("This file is empty.")
    page.get_by_role("button", name="Dismiss what is said about empty.txt").click()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    send(page, "How long does the battery of the HX-9 last?")
    expect(page.locator(FINISHED)).to_contain_text("lasts 24 months")
    # More than a form may have elsewhere, and by the picker.
    (tmp_path / "long.txt").write_text("Words of a log.\n" * 100_000)
    page.locator("details[data-documents] > summary").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("link", name="Add files to this chat").click()
    chooser.value.set_files([tmp_path / "long.txt"])
    expect(chip(page, "long.txt")).to_be_visible()
    page.evaluate(PASTE, "Pasted.")
    expect(chip(page, "pasted.txt")).to_be_visible()
    assert set(Document.objects.values_list("chat", flat=True)) == {chat.pk}
    # And away with one of them.
    chip(page, "pasted.txt").locator("summary").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(chip(page, "pasted.txt")).to_have_count(0)
    assert not Document.objects.visible_to(owner).filter(name="pasted.txt").exists()


def test_chosen_documents_stay_chosen_and_a_new_file_is_one_of_them(signed_in: Page, owner: User) -> None:
    page = signed_in
    make_document(owner, "one.pdf")
    make_document(owner, "two.pdf")
    chat = create_chat(owner, title="Station")
    visit(page, f"/chats/{chat.pk}/")
    page.locator("details[data-documents] > summary").click()
    page.locator(".choice").filter(has_text="one.pdf").click()
    page.keyboard.press("Escape")
    page.evaluate(DROP, [["manual.txt", MANUAL]])
    expect(chip(page, "manual.txt")).to_be_visible()
    expect(page.locator("[data-documents-name]")).to_have_text("2 documents")
    ticked = page.locator(".choice").filter(has=page.locator("[name=documents]:checked"))
    expect(ticked).to_have_text(["manual.txt", "one.pdf"])


def test_a_new_chat_begins_with_a_file_and_keeps_what_was_written(signed_in: Page, owner: User) -> None:
    page = signed_in
    visit(page, "/")
    page.get_by_label("Message", exact=True).fill("A question to come")
    page.evaluate("document.querySelector('[data-attach]').dataset.maxBytes = 100")
    page.evaluate(DROP, [["manual.txt", MANUAL], ["other.txt", "Other."], ["vast.txt", "x" * 101]])
    page.wait_for_url("**/chats/*/")
    chat = Chat.objects.get()
    expect(page.get_by_label("Message", exact=True)).to_have_value("A question to come")
    expect(page.locator("[data-problem]")).to_contain_text("vast.txt Not sent")
    expect(page.locator(".attached-file")).to_have_count(2)
    assert set(Document.objects.values_list("chat", flat=True)) == {chat.pk}
    page.reload()
    expect(page.locator("[data-problem]")).to_be_hidden()
    visit(page, "/")
    expect(page.get_by_label("Message", exact=True)).to_have_value("")


def test_nothing_is_sent_to_a_new_chat_whose_file_is_on_its_way(signed_in: Page, owner: User) -> None:
    page = signed_in
    visit(page, "/")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/chats/new/documents/", hold)
    with page.expect_request("**/chats/new/documents/"):
        page.evaluate(DROP, [["manual.txt", MANUAL]])
    expect(page.locator(".upload-line")).to_contain_text("manual.txt")
    send(page, "What is in it?")
    expect(page.locator("[data-problem]")).to_contain_text("still on its way")
    held[0].continue_()
    page.wait_for_url("**/chats/*/")
    expect(page.get_by_label("Message", exact=True)).to_have_value("What is in it?")
    assert Chat.objects.count() == 1


def test_the_box_keeps_up_with_the_reading_and_leaves_what_one_uses(signed_in: Page, owner: User) -> None:
    page = signed_in
    chat = create_chat(owner, title="Station")
    ready, slow = own(chat, "ready.pdf"), own(chat, "slow.pdf", status="indexing", done=1, total=4)
    visit(page, f"/chats/{chat.pk}/")
    expect(chip(page, "slow.pdf")).to_contain_text("Reading 25 %")
    chip(page, "ready.pdf").locator("summary").click()
    DocumentVersion.objects.filter(document=slow).update(status="failed", error_message="It is broken.")
    expect(chip(page, "slow.pdf").locator(".attached-reason")).to_contain_text("It is broken.")
    expect(page.locator("#spoken")).to_have_text("slow.pdf could not be read.")
    expect(page.locator(f"#attached-{ready.pk} summary")).to_be_focused()
    expect(chip(page, "ready.pdf").get_by_role("link", name="Open")).to_be_visible()
    page.keyboard.press("Escape")
    chip(page, "slow.pdf").locator(".attached-reason").get_by_role("button", name="Try again").click()
    expect(chip(page, "slow.pdf").locator(".attached-reason")).to_have_count(0)


def test_without_scripts_a_form_adds_files(plain: Page, owner: User, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("Plain")
    plain.goto("/")
    plain.locator("details[data-documents] > summary").click()
    plain.get_by_role("link", name="Add files to this chat").click()
    plain.get_by_label("Files", exact=True).set_input_files(tmp_path / "plain.txt")
    plain.get_by_role("button", name="Upload", exact=True).click()
    expect(plain.get_by_role("heading", name="Files of this chat")).to_be_visible()
    plain.get_by_role("link", name="Back to the chat").click()
    expect(chip(plain, "plain.txt")).to_be_visible()
    chip(plain, "plain.txt").locator("summary").click()
    plain.get_by_role("button", name="Delete for good").click()
    expect(chip(plain, "plain.txt")).to_have_count(0)
    expect(plain.get_by_label("Message", exact=True)).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    chat = create_chat(owner, title="Station")
    for number in range(5):
        own(chat, f"Datasheet of the weather station HX-9, revision {number}.pdf")
    slow = own(chat, "slow.pdf", status="pending")
    DocumentVersion.objects.filter(document=slow).update(**READING)
    own(chat, "scan.pdf", status="failed", error_message="It holds pictures only, no text.")
    for size in SIZES:
        page.set_viewport_size(size)
        visit(page, f"/chats/{chat.pk}/")
        page.evaluate(DROP, [["empty.txt", ""]])
        for menu in (f"#attached-{slow.pk} summary", "details[data-documents] > summary"):
            page.locator(menu).click()
            assert complaints(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for address in (f"/chats/{chat.pk}/documents/", "/chats/new/documents/"):
            visit(page, address)
            assert (address, complaints(page)) == (address, [])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") or size != PHONE
