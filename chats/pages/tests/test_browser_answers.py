"""From a file to an answer that can be checked, in a real Chromium: upload, ask, follow a source, delete, ask again."""

import re
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from playwright.sync_api import Page, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.knowledge.models import Document
from chats.knowledge.services import add_document
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Chat
from chats.pages.tests.test_browser import FINISHED, _nothing_complained, send, visit  # noqa: F401 - it is autouse
from chats.pages.tests.test_browser_access import complaints
from chats.services import create_chat
from config.tests.live import wait_until

pytestmark = pytest.mark.browser

MANUAL = "# Weather station HX-9\n\n" + "\n\n".join(
    [
        *(f"Paragraph {number} tells of masts, bolts and cables that nobody asks for." for number in range(60)),
        "The battery of the HX-9 lasts 24 months when it sends every ten minutes.",
        *(f"Paragraph {number} tells of paint, boxes and stickers." for number in range(60, 90)),
    ]
)
QUESTION = "How long does the battery of the HX-9 last?"


def use_documents(page: Page) -> None:
    page.locator("details[data-documents] > summary").click()
    page.get_by_text("Answer from my documents").click()
    page.keyboard.press("Escape")


def test_from_a_file_to_an_answer_that_can_be_checked(signed_in: Page, tmp_path: Path) -> None:
    page = signed_in
    file = tmp_path / "manual.md"
    file.write_text(MANUAL)
    visit(page, "/documents/")
    page.locator("input[type=file]").first.set_input_files(file)
    expect(page.locator(".document-row").filter(has_text="Ready")).to_be_visible()
    visit(page, "/")
    use_documents(page)
    send(page, QUESTION)
    answer = page.locator(FINISHED)
    expect(answer).to_contain_text("lasts 24 months")
    marker = answer.locator("a.citation").first
    expect(marker).to_have_text("1")
    sources = page.get_by_role("region", name="Sources of this answer")
    expect(sources.get_by_role("link").first).to_contain_text("manual.md")
    expect(sources.get_by_text("more passages were looked at")).to_be_visible()
    assert complaints(page) == []
    marker.click()
    passage = page.locator("mark#passage").first
    expect(passage).to_be_in_viewport()
    expect(page.locator("mark").filter(has_text="lasts 24 months")).to_be_visible()
    visit(page, "/documents/")
    page.locator(".document-row summary").first.click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("manual.md")).to_have_count(0)
    visit(page, f"/chats/{Chat.objects.get().pk}/")
    send(page, QUESTION)
    expect(page.locator(FINISHED).nth(1)).to_contain_text("I found nothing about this")
    # The answer of before keeps what it said, and its source leads to a page that says what became of it.
    expect(page.locator(FINISHED).first).to_contain_text("lasts 24 months")


def test_markers_are_links_while_the_answer_is_written(
    signed_in: Page, owner: User, openai_model: AIModel, fake_provider: FakeProvider
) -> None:
    page = signed_in
    document, _ = add_document(owner, ContentFile(MANUAL.encode(), name="manual.md"))
    wait_until(lambda: Document.objects.filter(current__isnull=False).exists(), seconds=20, what="it is read")
    words = ["Two", " years", " [1", "].", " But", " `a[1", "]`", " is", " code", " and", " [9]", " names", " none."]
    fake_provider.script("fake-1", Script(chunks=[*words, *[" More."] * 400], tokens_per_second=20))
    chat = create_chat(owner, model=openai_model)
    Chat.objects.filter(pk=chat.pk).update(retrieval={"limit": 3, "documents": [str(document.pk)]})
    visit(page, f"/chats/{chat.pk}/")
    send(page, QUESTION)
    for _ in range(2):
        growing = page.locator("article[data-reply]")
        expect(growing.locator("[data-text]")).to_contain_text("More.")
        expect(growing.locator("a.citation")).to_have_count(1)
        expect(growing.locator("a.citation")).to_have_attribute(
            "href", re.compile(rf"/documents/{document.pk}/.*#passage")
        )
        expect(growing.locator("code")).to_have_text("a[1]")
        expect(growing.locator("[data-text]")).not_to_contain_text("[9]")
        expect(growing.get_by_role("region", name="Sources of this answer").get_by_role("link")).to_have_count(1)
        # And for one who comes when it is half written.
        page.reload()
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.locator(FINISHED).locator("a.citation")).to_have_count(1)


def test_the_choice_of_documents_is_remembered_with_the_chat(signed_in: Page, owner: User, demo_model: AIModel) -> None:
    page = signed_in
    chosen, _ = add_document(owner, ContentFile(b"One.", name="one.txt"))
    add_document(owner, ContentFile(b"Two.", name="two.txt"))
    visit(page, "/")
    summary = page.locator("details[data-documents] > summary")
    expect(summary).to_have_text("No documents")
    summary.click()
    page.get_by_text("one.txt").click()
    expect(summary).to_have_text("1 document")
    page.keyboard.press("Escape")
    send(page, "quote this")
    expect(page.locator(FINISHED)).to_be_visible()
    chat = Chat.objects.get()
    assert chat.retrieval == {"limit": 8, "documents": [str(chosen.pk)]}
    visit(page, f"/chats/{chat.pk}/")
    expect(summary).to_have_text("1 document")
    summary.click()
    page.get_by_text("Answer from my documents").click()
    expect(summary).to_have_text("No documents")
    page.keyboard.press("Escape")
    send(page, "quote that")
    expect(page.locator(FINISHED)).to_have_count(2)
    chat.refresh_from_db()
    assert chat.retrieval is None
