"""What people do with their documents, in a real Chromium."""

import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect
from pytest_django import Settings

from accounts.models import User
from chats.knowledge.models import Document, DocumentText, DocumentVersion
from chats.pages.documents import ROWS_ASKED_MAX
from chats.pages.tests.test_browser import PHONE, _nothing_complained, visit  # noqa: F401 - the fixture is autouse
from chats.pages.tests.test_browser_access import complaints
from chats.pages.tests.test_documents import READING, make_document
from chats.services import create_chat
from config.tests.live import wait_until

pytestmark = pytest.mark.browser

PARAGRAPHS = [
    f"Paragraph {number}. " + "Words of a handbook that nobody reads to its end. " * 6 for number in range(90)
]
TEXT = "\n\n".join(PARAGRAPHS)
SIZES = [{"width": 1280, "height": 800}, PHONE]
DROP = """
    (files) => {
        const data = new DataTransfer();
        for (const [name, content] of files) data.items.add(new File([content], name));
        for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
            if (type === "dragover") window.sign = getComputedStyle(document.querySelector(".drop-sign")).display;
        }
    }
"""


def row(page: Page, name: str):
    return page.locator(".document-row").filter(has_text=name)


def choose(page: Page, name: str, verb: str) -> None:
    row(page, name).locator("summary").click()
    row(page, name).get_by_role("link", name=verb).click()


def make_all_states(owner: User) -> Document:
    make_document(owner, "Scanned-lease.pdf", status="failed", error_message="It holds pictures only, no text.")
    make_document(owner, "Annual-report-with-a-rather-long-name-2026-final.pdf", status="indexing", done=12, total=200)
    make_document(owner, "Minutes.docx", status="indexing", kind="docx", done=3, total=9)
    make_document(owner, "Waiting.md", status="pending", content=b"# Waits")
    return make_document(
        owner,
        "Handbook.pdf",
        text=TEXT,
        pages=3,
        page_starts=[0, 9_000, 18_000],
        content=b"x" * 3_400_000,
        space="Work",
    )


def test_upload_by_choosing_and_by_dropping(signed_in: Page, tmp_path: Path, settings: Settings) -> None:
    page = signed_in
    (tmp_path / "chosen.md").write_text("# Chosen")
    (tmp_path / "other.txt").write_text("Other")
    visit(page, "/documents/")
    expect(page.get_by_role("heading", name="Answers from what you know")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload files").click()
    chooser.value.set_files([tmp_path / "chosen.md", tmp_path / "other.txt"])
    expect(page.locator(".document-row")).to_have_count(2)
    expect(page.get_by_role("heading", name="Answers from what you know")).to_be_hidden()
    expect(page.locator("#room")).to_contain_text("2 of 5,000 documents")
    # Dropped: a new one, one that is here, and two that are refused before they are sent.
    page.evaluate("document.getElementById('upload').dataset.maxBytes = 100")
    page.evaluate(
        DROP, [["dropped.txt", "Dropped"], ["same.txt", "Other"], ["empty.txt", ""], ["large.txt", "x" * 101]]
    )
    assert page.evaluate("window.sign") == "grid"
    expect(page.locator(".drop-sign")).to_be_hidden()
    expect(row(page, "dropped.txt")).to_be_visible()
    lines = page.locator(".upload-line")
    expect(lines.filter(has_text="same.txt")).to_contain_text("already here")
    expect(lines.filter(has_text="empty.txt")).to_contain_text("This file is empty.")
    expect(lines.filter(has_text="large.txt")).to_contain_text("101 bytes, and at most 100 bytes are allowed")
    assert set(Document.objects.values_list("name", flat=True)) == {"chosen.md", "other.txt", "dropped.txt"}
    page.get_by_role("button", name="Dismiss what is said about large.txt").click()
    expect(lines).to_have_count(2)
    # What the server refuses is said in its words; what never reached it can be sent again.
    page.evaluate("document.getElementById('upload').dataset.maxBytes = 30e6")
    page.context.set_offline(True)
    page.evaluate(DROP, [["later.txt", "Later"]])
    expect(lines.filter(has_text="later.txt")).to_contain_text("be reached")
    page.context.set_offline(False)
    lines.filter(has_text="later.txt").get_by_role("button", name="Try again").click()
    expect(row(page, "later.txt")).to_be_visible()
    settings.UPLOAD_MAX_BYTES = 100
    page.evaluate(DROP, [["vast.txt", "x" * 101]])
    expect(lines.filter(has_text="vast.txt")).to_contain_text("This file has 101 bytes; at most 100 are allowed.")
    page.reload()
    expect(page.locator(".document-row")).to_have_count(4)


def test_rename_replace_retry_and_delete_in_place(signed_in: Page, owner: User, tmp_path: Path) -> None:
    page = signed_in
    make_document(owner, "kept.pdf")
    make_document(owner, "old.pdf")
    make_document(owner, "broken.pdf", status="failed", error_message="It is broken.")
    visit(page, "/documents/")
    choose(page, "old.pdf", "Rename")
    field = page.get_by_label("Name", exact=True)
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="old.pdf")).to_be_focused()
    choose(page, "old.pdf", "Rename")
    expect(field).to_be_focused()
    field.fill("new.pdf")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="new.pdf")).to_be_focused()
    choose(page, "new.pdf", "New version")
    (tmp_path / "two.txt").write_text("Two")
    page.get_by_label("File that takes its place").set_input_files(tmp_path / "two.txt")
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(row(page, "new.pdf")).to_contain_text("version 2")
    expect(row(page, "new.pdf").locator("summary")).to_be_focused()
    broken = row(page, "broken.pdf")
    broken.get_by_role("button", name="Try again").click()
    expect(broken.get_by_role("button", name="Try again")).to_be_hidden()
    choose(page, "new.pdf", "Delete")
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(row(page, "new.pdf").locator("summary")).to_be_focused()
    choose(page, "new.pdf", "Delete")
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Delete the document").click()
    expect(page.locator(".document-row")).to_have_count(2)
    expect(page.locator("#room")).to_contain_text("2 of 5,000 documents")
    assert not Document.objects.visible_to(owner).filter(name="new.pdf").exists()


def test_a_document_is_moved_to_a_space_in_place(signed_in: Page, owner: User) -> None:
    page = signed_in
    create_chat(owner, space="Work")
    make_document(owner, "manual.pdf")
    visit(page, "/documents/")
    choose(page, "manual.pdf", "Rename or move")
    field = page.locator(".document-row").get_by_label("Space")
    assert page.locator(".document-row datalist option").get_attribute("value") == "Work"
    for size in SIZES:
        page.set_viewport_size(size)
        assert complaints(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    field.fill("Work")
    page.keyboard.press("Enter")
    expect(row(page, "manual.pdf")).to_contain_text("space «Work»")
    expect(page.get_by_role("link", name="manual.pdf")).to_be_focused()


def test_rows_keep_up_with_the_reading_and_a_refusal_is_said(signed_in: Page, owner: User) -> None:
    page = signed_in
    document = make_document(owner, "report.pdf", status="indexing", done=12, total=200)
    make_document(owner, "quiet.pdf")
    visit(page, "/documents/")
    expect(row(page, "report.pdf")).to_contain_text("page 12 of 200")
    row(page, "report.pdf").locator("summary").click()
    page.evaluate("document.activeElement.blur()")
    DocumentVersion.objects.filter(document=document).update(status="failed", error_message="It is broken.")
    retry = row(page, "report.pdf").get_by_role("button", name="Try again")
    expect(retry).to_be_attached()
    # What one is about to use stays open, and focus where it was.
    assert page.evaluate("document.activeElement === document.body")
    expect(row(page, "report.pdf").get_by_role("link", name="Rename")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#spoken")).to_have_text("report.pdf could not be read.")
    # Someone else was quicker; and nothing asks any more when nothing is unfinished.
    DocumentVersion.objects.filter(document=document).update(status="ready")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    retry.click()
    expect(page.locator("[data-problem]")).to_contain_text("there is nothing to try again")
    page.wait_for_timeout(2_200)
    assert [re.sub(r".*/documents/[^/]*", "", url) for url in asked] == ["/retry/"]


def test_of_many_rows_those_are_asked_for_that_are_read_first(signed_in: Page, owner: User) -> None:
    page, now = signed_in, timezone.now()
    oldest, *_, newest = [
        make_document(owner, f"{at}.pdf", status="indexing", created_at=now + timedelta(seconds=at))
        for at in range(ROWS_ASKED_MAX + 5)
    ]
    asked: list[list[str]] = []

    def note(route: Route) -> None:
        asked.append(parse_qs(urlsplit(route.request.url).query)["row"])
        route.fulfill(status=204)

    progress = re.compile(r"/documents/\?row=")
    page.route(progress, note)
    visit(page, "/documents/")
    rows = page.locator(".document-row")
    for count in (30, 60, 90, ROWS_ASKED_MAX + 5):
        expect(rows).to_have_count(count)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    # As if only the newest were under way. Set here: the engine would read what waits.
    page.evaluate(
        "for (const s of [...document.querySelectorAll('[data-status]')].slice(1)) s.dataset.status = 'pending'"
    )
    # One may have been on its way; the second is asked for after that.
    asked.clear()
    wait_until(lambda: page.wait_for_timeout(100) or len(asked) > 1, seconds=15, what="two more were asked for")
    assert len(asked[-1]) == ROWS_ASKED_MAX
    assert asked[-1][:2] == [str(newest.pk), str(oldest.pk)]
    page.unroute(progress)
    DocumentVersion.objects.filter(document=oldest).update(done=12, total=200)
    expect(rows.last).to_contain_text("page 12 of 200")


def test_a_page_of_a_document_shows_its_text_when_it_is_read(signed_in: Page, owner: User) -> None:
    page = signed_in
    document = make_document(owner, "report.pdf", status="indexing", text="Now it is read.")
    visit(page, f"/documents/{document.pk}/")
    expect(page.get_by_text("Its text can be read here")).to_be_visible()
    version = document.versions.get()
    DocumentText.objects.create(version=version, text="Now it is read.")
    DocumentVersion.objects.filter(pk=version.pk).update(status="ready")
    expect(page.get_by_text("Now it is read.")).to_be_visible()


def test_a_passage_is_scrolled_to(signed_in: Page, owner: User) -> None:
    page = signed_in
    document = make_all_states(owner)
    start = TEXT.index("Paragraph 50.")
    visit(page, f"/documents/{document.pk}/?version=1&start={start}&end={start + 13}#passage")
    mark = page.locator("#passage")
    expect(mark).to_have_text("Paragraph 50.")
    expect(mark).to_be_in_viewport()
    page.get_by_role("link", name="whole document").click()
    expect(page.get_by_text("Part 1 of 2")).to_be_visible()
    expect(page.locator("mark")).to_have_count(0)
    page.get_by_role("link", name="Later").click()
    expect(page.get_by_text("Paragraph 89.")).to_be_attached()


def test_without_scripts_a_form_uploads_and_the_page_comes_again(plain: Page, owner: User, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("Plain")
    document = make_document(owner, "report.pdf", text="It is read.")
    plain.goto("/documents/")
    plain.get_by_label("Files").set_input_files(tmp_path / "plain.txt")
    plain.get_by_role("button", name="Upload", exact=True).click()
    expect(plain.get_by_text("The file is uploaded.")).to_be_visible()
    expect(row(plain, "plain.txt")).to_be_visible()
    DocumentVersion.objects.filter(document=document).update(**READING)
    plain.goto("/documents/")
    expect(plain.get_by_label("Files")).to_be_hidden()
    plain.get_by_role("link", name="Stop that").click()
    expect(plain.get_by_label("Files")).to_be_visible()
    choose(plain, "plain.txt", "Delete")
    plain.get_by_role("button", name="Delete the document").click()
    expect(plain.get_by_text("«plain.txt» is deleted.")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    for size in SIZES:
        page.set_viewport_size(size)
        page.goto("/documents/")
        assert complaints(page) == []
    document = make_all_states(owner)
    start = TEXT.index("Paragraph 50.")
    for size in SIZES:
        page.set_viewport_size(size)
        visit(page, "/documents/")
        page.evaluate(DROP, [["empty.txt", ""]])
        choose(page, "Handbook.pdf", "Delete")
        expect(page.locator("[data-panel]")).to_be_visible()
        page.locator(".upload-more summary").click()
        row(page, "Handbook.pdf").locator("summary").click()
        assert complaints(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        forms = ["rename/", "versions/", "delete/"] if size == PHONE else []
        for address in (f"?version=1&start={start}&end={start + 800}#passage", *forms):
            page.goto(f"/documents/{document.pk}/{address}")
            assert (address, complaints(page)) == (address, [])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
