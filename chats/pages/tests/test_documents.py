"""The list of documents, uploads and their refusals, the text of one, and what one does with it."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from chats.knowledge.models import Document, DocumentText, DocumentVersion
from chats.knowledge.services import add_document, delete_document
from chats.pages.library import document_list
from chats.pages.reading import BREAK_CHARACTERS, BREAKS, PART_CHARACTERS, Passage, part_of, passage_within
from chats.pages.tags import file_size
from chats.services import create_chat

HX = {"HX-Request": "true"}
LIST = "/documents/"
# By a worker that is still heard of: the engine of the live server leaves it alone.
READING = {"status": "indexing", "worker": "elsewhere", "heartbeat_at": timezone.now() + timedelta(days=1)}


def make_document(user: User, name: str = "Handbook.pdf", *, text: str = "", **fields: Any) -> Document:
    """A document whose only version is as `fields` say, ready if they don't. Written here: no engine reads in tests."""
    page_starts, created_at = fields.pop("page_starts", []), fields.pop("created_at", timezone.now())
    space = fields.pop("space", "")
    document = Document.objects.create(user=user, name=name, created_at=created_at, space=space)
    add_read_version(document, text=text, page_starts=page_starts, **fields)
    return document


def add_read_version(
    document: Document, *, text: str = "", page_starts: list[int] = (), **fields: Any
) -> DocumentVersion:
    content = fields.pop("content", text.encode() or b"nothing")
    is_read = fields.get("status", "ready") in {"ready", "failed"}
    fields = {
        "status": "ready",
        "kind": "pdf" if is_read else "",
        "characters": len(text),
        "size": len(content),
        **fields,
    }
    if fields["status"] == "indexing":
        fields |= READING
    number = document.versions.count() + 1
    version = DocumentVersion(document=document, number=number, sha256=uuid4().hex, **fields)
    version.file.save("upload", ContentFile(content), save=False)
    version.save()
    if version.status == "ready":
        DocumentText.objects.create(version=version, text=text, page_starts=list(page_starts))
        Document.objects.filter(pk=document.pk).update(current=version)
    return version


def to(name: str, document: Document, query: str = "") -> str:
    return reverse(f"pages:{name}", args=[document.pk]) + query


def upload(
    client: Client, *files: tuple[str, bytes], address: str = LIST, script: bool = False, **data: str
) -> HttpResponse:
    sent = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post(address, {"file": sent, **data}, headers=HX if script else {})


def page_of(client: Client, address: str, **options: Any) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def file_of(client: Client, address: str) -> bytes:
    return b"".join(client.get(address).streaming_content)


# ---------------------------------------------------------------- the list
def test_the_list_says_of_each_document_what_it_is_and_how_far(visitor: Client, owner: User) -> None:
    make_document(owner, "Rules <1>.pdf", pages=200, content=b"x" * 3_400, space="Work")
    make_document(owner, "minutes.docx", status="pending")
    make_document(owner, "report.pdf", status="indexing", done=12, total=200)
    make_document(owner, "notes.md", status="indexing", kind="markdown", done=3, total=9)
    make_document(owner, "scan.pdf", status="failed", error_code="no_text", error_message="It holds <pictures> only.")
    page = page_of(visitor, LIST)
    for words in (
        "Rules &lt;1&gt;.pdf",
        "3.4 kB",
        "200 pages",
        "space «Work»",
        "Word",
        "Waiting to be read",
        "Reading, page 12 of 200",
        'value="6"',
        "Preparing for search, part 3 of 9",
        'Could not be read. <span dir="auto">It holds &lt;pictures&gt; only.',
        "5 of 5,000 documents",
        "of 1 GB",
    ):
        assert words in page
    assert page.count("Try again</button>") == 1 + 1  # the failed one, and the template of a refused upload
    assert page.count("data-unfinished") == 3


def test_it_comes_again_by_itself_only_while_something_is_unfinished(visitor: Client, owner: User) -> None:
    make_document(owner)
    assert 'http-equiv="refresh"' not in page_of(visitor, LIST)
    make_document(owner, status="pending")
    assert f'<noscript><meta http-equiv="refresh" content="5; url={LIST}">' in page_of(visitor, LIST)
    assert 'http-equiv="refresh"' not in page_of(visitor, f"{LIST}?still")


def test_without_documents_it_says_what_they_are_for(visitor: Client, db: None) -> None:
    page = page_of(visitor, LIST)
    assert "Answers from what you know" in page
    assert "0 of 5,000 documents, 0 bytes of 1 GB" in page
    assert "document-row" not in page


def test_the_menu_leads_to_it(visitor: Client, db: None) -> None:
    assert f'href="{LIST}">' in page_of(visitor, "/")


def test_every_document_is_reached_once_through_more(owner: User, visitor: Client) -> None:
    now = timezone.now()
    made = [make_document(owner, f"{n}.txt", created_at=now - timedelta(hours=n // 3)) for n in range(65)]
    seen, before = [], ""
    while True:
        found = document_list(owner, before=before)
        seen += [row.document.pk for row in found.rows]
        before = found.before
        if not before:
            break
    assert sorted(seen) == sorted(document.pk for document in made)
    dates = dict(Document.objects.values_list("pk", "created_at"))
    assert [dates[pk] for pk in seen] == sorted(dates.values(), reverse=True)
    more = re.search(r'class="more" href="([^"]+)"', page_of(visitor, LIST))[1].replace("&amp;", "&")
    fragment = page_of(visitor, more, headers=HX)
    assert fragment.count("document-row") == 30
    assert "<html" not in fragment
    assert "Newest documents" in page_of(visitor, more)


def test_the_list_costs_the_same_however_long(owner: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(5):
        make_document(owner)
    with django_assert_num_queries(2):
        document_list(owner)


def test_a_script_is_told_only_of_the_rows_it_asks_for(visitor: Client, owner: User, stranger: User) -> None:
    done, waits, other = make_document(owner), make_document(owner, status="pending"), make_document(owner)
    foreign, gone = make_document(stranger), make_document(owner)
    delete_document(gone)
    asked = [done.pk, waits.pk, foreign.pk, gone.pk, "nonsense"]
    fragment = page_of(visitor, LIST, data={"row": asked}, headers=HX)
    assert f'id="state-{done.pk}" data-status="ready" hx-swap-oob="true"' in fragment
    assert f'id="state-{waits.pk}" data-status="pending" data-unfinished="{waits.pk}" hx-swap-oob="true"' in fragment
    assert str(other.pk) not in fragment
    for missing in (foreign, gone):
        assert f'<li id="document-{missing.pk}" hx-swap-oob="delete">' in fragment


# Moments that UTC has not.
BEFORE_ALL_TIME = f"0001-01-01T00:00:00%2B14:00_{UUID(int=0)}"
AFTER_ALL_TIME = f"9999-12-31T23:59:59-12:00_{UUID(int=0)}"


@pytest.mark.parametrize(
    "query",
    [
        *("before=x", "before=2026-01-01_x", "before=%00", f"before={BEFORE_ALL_TIME}", f"before={AFTER_ALL_TIME}"),
        *("row=", "row=%00&row=x", "still=1"),
    ],
)
def test_a_strange_address_of_the_list_is_a_list(visitor: Client, owner: User, query: str) -> None:
    make_document(owner)
    assert "Handbook.pdf" in page_of(visitor, f"{LIST}?{query}")
    assert visitor.get(f"{LIST}?{query}", headers=HX).status_code == 200


# ---------------------------------------------------------------- uploads
def test_a_form_may_bring_several_files_and_comes_back_to_the_list(visitor: Client, owner: User) -> None:
    response = upload(visitor, ("a.txt", b"one"), ("empty.txt", b""), ("b.md", b"two"), space="Work")
    assert response.url == LIST
    page = page_of(visitor, LIST)
    assert "2 files are uploaded." in page
    assert "«empty.txt» was not uploaded. This file is empty." in page
    assert set(Document.objects.values_list("name", "space")) == {("a.txt", "Work"), ("b.md", "Work")}
    upload(visitor, ("again.txt", b"one"), space="Work")
    assert "«again.txt» is already here, as «a.txt»." in page_of(visitor, LIST)
    assert Document.objects.count() == 2


def test_a_script_is_answered_with_the_row(visitor: Client, db: None) -> None:
    response = upload(visitor, ("a.txt", b"one"), script=True)
    fragment = response.content.decode()
    document = Document.objects.get()
    assert response.status_code == 201
    assert f'id="document-{document.pk}"' in fragment
    assert 'id="room" hx-swap-oob="true"' in fragment
    same = upload(visitor, ("b.txt", b"one"), script=True)
    assert same.status_code == 200
    assert f'id="document-{document.pk}"' in same.content.decode()


@pytest.mark.parametrize(
    ("limit", "status", "sentence"),
    [
        (("UPLOAD_MAX_BYTES", 10), 413, "This file has 20 bytes; at most 10 are allowed."),
        (("DOCUMENTS_PER_USER", 1), 413, "You have 1 documents, and no more are allowed."),
        (("DOCUMENT_BYTES_PER_USER", 12), 413, "this one does not fit."),
        (("UPLOADS_PER_HOUR", 0), 429, "You may upload 0 files an hour. Try this one again in"),
    ],
)
def test_a_refusal_is_a_sentence(
    visitor: Client, settings: Settings, limit: tuple[str, int], status: int, sentence: str
) -> None:
    upload(visitor, ("there.txt", b"there"))
    setattr(settings, *limit)
    response = upload(visitor, ("a.txt", b"x" * 20), script=True)
    assert (response.status_code, response["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert sentence in response.content.decode()
    upload(visitor, ("a.txt", b"x" * 20))
    page = page_of(visitor, LIST)
    assert "«a.txt» was not uploaded." in page
    assert sentence in page
    assert Document.objects.count() == 1


def test_an_upload_without_a_file_says_so(visitor: Client, owner: User) -> None:
    document = make_document(owner)
    visitor.post(LIST)
    assert "Choose a file first" in page_of(visitor, LIST)
    for address in (LIST, to("replace_document", document)):
        assert visitor.post(address, {"file": "no file"}, headers=HX).status_code == 400
    assert "Choose a file first" in visitor.post(to("replace_document", document)).content.decode()


def test_a_new_version_takes_the_place_of_the_file(visitor: Client, owner: User) -> None:
    upload(visitor, ("a.txt", b"one"))
    document = Document.objects.get()
    address = to("replace_document", document)
    assert 'type="file"' in page_of(visitor, address)
    assert "<html" not in page_of(visitor, address, headers=HX)
    assert upload(visitor, ("a.txt", b"one"), address=address).url == to("document", document)
    assert "already here; nothing was changed" in page_of(visitor, to("document", document))
    assert upload(visitor, ("a.txt", b"two"), address=address).url == to("document", document)
    assert upload(visitor, ("a.txt", b"two"), address=address, script=True).status_code == 200
    response = upload(visitor, ("a.txt", b"three"), address=address, script=True)
    assert response.status_code == 201
    assert "version 3" in response.content.decode()


# ---------------------------------------------------------------- verbs
def test_rename_as_a_page_and_in_place(visitor: Client, owner: User) -> None:
    document = make_document(owner, "old.pdf")
    address = to("rename_document", document)
    assert 'value="old.pdf"' in page_of(visitor, address)
    assert visitor.post(address, {"name": "new.pdf"}).url == to("document", document)
    assert "<input" in page_of(visitor, address, headers=HX)
    assert "<input" not in page_of(visitor, f"{address}?cancel", headers=HX)
    row = visitor.post(address, {"name": "<newer>.pdf"}, headers=HX).content.decode()
    assert "&lt;newer&gt;.pdf" in row
    assert f'id="document-{document.pk}"' in row


def test_a_document_keeps_a_name(visitor: Client, owner: User) -> None:
    address = to("rename_document", make_document(owner))
    response = visitor.post(address, {"name": "  "})
    assert response.status_code == 400
    assert 'class="error" id="name-error">Give the document a name.' in response.content.decode()
    response = visitor.post(address, {"name": " "}, headers=HX)
    assert (response.status_code, response.content.decode()) == (400, "Give the document a name.")


def test_a_document_is_moved_to_a_space_and_back_to_all(visitor: Client, owner: User) -> None:
    create_chat(owner, space="Work")
    document = make_document(owner, "old.pdf")
    address = to("rename_document", document)
    for headers in ({}, HX):
        assert '<option value="Work">' in page_of(visitor, address, headers=headers)
    visitor.post(address, {"name": "old.pdf", "space": " Work "})
    assert "space «Work»" in page_of(visitor, LIST)
    # A form that does not ask for the space leaves it.
    visitor.post(address, {"name": "new.pdf"}, headers=HX)
    assert 'value="Work"' in page_of(visitor, address)
    row = visitor.post(address, {"name": "new.pdf", "space": ""}, headers=HX).content.decode()
    assert "space «" not in row
    refused = visitor.post(address, {"name": "new.pdf", "space": "x" * 101})
    assert refused.status_code == 400
    assert 'id="space-error"' in refused.content.decode()
    assert visitor.post(address, {"name": "", "space": "x" * 101}, headers=HX).status_code == 400


def test_a_document_is_not_moved_to_where_its_file_is_already(visitor: Client, owner: User) -> None:
    upload(visitor, ("a.txt", b"one"), space="Work")
    upload(visitor, ("a.txt", b"one"))
    address = to("rename_document", Document.objects.get(space=""))
    response = visitor.post(address, {"name": "a.txt", "space": "Work"})
    assert response.status_code == 409
    assert 'id="space-error"' in response.content.decode()
    assert visitor.post(address, {"name": "a.txt", "space": "Work"}, headers=HX).status_code == 409
    assert Document.objects.filter(space="Work").count() == 1


def test_spaces_are_offered_where_one_uploads_and_only_ones_own(visitor: Client, owner: User, stranger: User) -> None:
    create_chat(owner, space="Work")
    create_chat(stranger, space="Secret")
    make_document(owner, space="<Private>")
    page = page_of(visitor, LIST)
    assert '<option value="&lt;Private&gt;"></option><option value="Work"></option></datalist>' in page
    assert "Secret" not in page


def test_retry_reads_again_what_could_not_be_read(visitor: Client, owner: User) -> None:
    document = make_document(owner, status="failed", error_message="It is broken.")
    address = to("retry_document", document)
    assert "Waiting to be read" in visitor.post(address, headers=HX).content.decode()
    assert visitor.post(address, headers=HX).status_code == 409
    DocumentVersion.objects.update(status="failed")
    assert visitor.post(address).url == to("document", document)
    assert document.versions.get().status == "pending"


def test_delete_asks_first_and_then_it_is_gone(visitor: Client, owner: User) -> None:
    first, second = make_document(owner, "one.pdf"), make_document(owner, "two.pdf")
    assert "Delete this document?" in page_of(visitor, to("delete_document", first))
    assert visitor.post(to("delete_document", first)).url == LIST
    page = page_of(visitor, LIST)
    assert "«one.pdf» is deleted." in page
    assert f"document-{first.pk}" not in page
    assert "<html" not in page_of(visitor, to("delete_document", second), headers=HX)
    assert "0 of 5,000 documents" in visitor.post(to("delete_document", second), headers=HX).content.decode()
    assert visitor.get(to("document", second)).status_code == 404


def test_a_file_is_given_back_to_be_kept_not_shown(visitor: Client, owner: User) -> None:
    document = make_document(owner, 'Ünï"q.html', content=b"<script>1</script>")
    add_read_version(document, content=b"newer")
    response = visitor.get(to("document_file", document, "?version=1"))
    assert b"".join(response.streaming_content) == b"<script>1</script>"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert "sandbox" in response["Content-Security-Policy"]
    assert file_of(visitor, to("document_file", document)) == b"newer"
    version = document.versions.get(number=1)
    version.file.storage.delete(version.file.name)
    lost = visitor.get(to("document_file", document, "?version=1"))
    assert lost.status_code == 404
    assert "Upload it again" in lost.content.decode()


VERBS = {
    "document": "get",
    "document_file": "get",
    "rename_document": "both",
    "replace_document": "both",
    "retry_document": "post",
    "delete_document": "both",
}


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("person", ["stranger", "staff", "superuser"])
def test_what_is_not_ones_own_looks_missing(
    request: pytest.FixtureRequest, owner: User, client_of: Callable[[User], Client], name: str, person: str
) -> None:
    document = make_document(owner, "Secret.pdf", text="secret", status="failed")
    client = client_of(request.getfixturevalue(person))
    for method in ("get", "post") if VERBS[name] == "both" else (VERBS[name],):
        for headers in ({}, HX):
            data = {"name": "x"} if method == "get" else {"name": "x", "file": SimpleUploadedFile("a.txt", b"a")}
            response = getattr(client, method)(to(name, document), data, headers=headers)
            assert response.status_code == 404
            assert "ecret" not in response.content.decode()
    assert "ecret" not in page_of(client, LIST)
    document.refresh_from_db()
    assert (document.name, document.deleted_at, document.versions.count()) == ("Secret.pdf", None, 1)


def test_whoever_is_not_signed_in_is_asked_to(client: Client, owner: User) -> None:
    document = make_document(owner)
    for name, method in VERBS.items():
        response = getattr(client, "get" if method == "both" else method)(to(name, document))
        assert response.status_code == 302
    assert upload(client, ("a.txt", b"one"), script=True).status_code == 401


def test_verbs_need_a_form_not_a_link(visitor: Client, owner: User) -> None:
    assert visitor.get(to("retry_document", make_document(owner, status="failed"))).status_code == 405


# ---------------------------------------------------------------- the text of one
TEXT = "First <b>page</b>.\n\nIt goes\non.\n\nSecond page.\n\nThird page."
STARTS = [0, TEXT.index("Second"), TEXT.index("Third")]


def test_a_document_reads_as_paragraphs_of_text_with_its_pages_named(visitor: Client, owner: User) -> None:
    page = visitor.get(to("document", make_document(owner, text=TEXT, page_starts=STARTS, pages=3))).content.decode()
    assert '<p dir="auto">First &lt;b&gt;page&lt;/b&gt;.</p>' in page
    assert '<p dir="auto">It goes\non.</p>' in page
    assert re.findall(r'class="page-mark">([^<]+)', page) == ["Page 1", "Page 2", "Page 3"]
    assert "<mark" not in page


def test_it_opens_at_a_passage_which_may_go_over_pages(visitor: Client, owner: User) -> None:
    start, end = TEXT.index("on."), TEXT.index(" page.\n\nThird")
    document = make_document(owner, text=TEXT, page_starts=STARTS)
    page = visitor.get(to("document", document, f"?version=1&start={start}&end={end}")).content.decode()
    assert 'It goes\n<mark id="passage" tabindex="-1">on.</mark></p>' in page
    assert "<mark>Second</mark> page." in page
    assert page.count("<mark") == 2
    assert "A passage on page 1 is marked" in page
    assert f'href="{to("document", document)}?version=1">whole document</a>' in page


def test_an_earlier_version_says_that_it_is_one(visitor: Client, owner: User) -> None:
    document = make_document(owner, text="Old words.")
    add_read_version(document, text="New words.")
    page = page_of(visitor, to("document", document, "?version=1&start=0&end=3"))
    assert '<mark id="passage" tabindex="-1">Old</mark> words.' in page
    assert "There is a newer one." in page
    assert "Go to version 2" in page
    page = page_of(visitor, to("document", document))
    assert "New words." in page
    assert "Go to version" not in page
    add_read_version(document, status="failed", error_message="It is broken.")
    page = page_of(visitor, to("document", document))
    assert "New words." in page
    assert "A newer one could not be read." in page


def test_a_version_that_is_gone_is_not_taken_for_another(visitor: Client, owner: User) -> None:
    page = page_of(visitor, to("document", make_document(owner, text="Words."), "?version=7&start=0&end=3"))
    assert "not kept any more. This is the newest." in page
    assert "<mark" not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "pending"}, "Its text can be read here as soon as it is ready."),
        ({"status": "indexing", "done": 1, "total": 4}, "Reading, page 1 of 4"),
        ({"status": "failed", "error_message": "It has a password."}, "It has a password."),
        ({"text": " \n "}, "There is no text in this document."),
    ],
)
def test_one_that_can_not_be_read_says_so(visitor: Client, owner: User, fields: dict[str, Any], words: str) -> None:
    document = make_document(owner, **fields)
    page = page_of(visitor, to("document", document, "?start=0&end=9"))
    assert words in page
    is_unfinished = fields.get("status") in {"pending", "indexing"}
    assert ('http-equiv="refresh"' in page) == ('hx-trigger="every 2s"' in page) == is_unfinished
    response = visitor.get(to("document", document), headers=HX)
    assert ("HX-Refresh" in response.headers) != is_unfinished


NONSENSE = ["-1", "x", "", "1e3", "٣", "99999999999999999999", "0x1", "1.5", "%00", "999999999"]


@pytest.mark.parametrize("name", ["version", "start", "end", "part"])
def test_wrong_numbers_are_ignored_or_clamped(visitor: Client, owner: User, name: str) -> None:
    document = make_document(owner, text=TEXT, page_starts=STARTS)
    good = {"version": "1", "start": "2", "end": "5", "part": "1"}
    for value in NONSENSE:
        query = "&".join(f"{key}={word}" for key, word in {**good, name: value}.items())
        assert "Second page." in page_of(visitor, to("document", document, f"?{query}"))
        assert file_of(visitor, to("document_file", document, f"?{query}")) == TEXT.encode()


def test_a_long_text_is_read_in_parts(visitor: Client, owner: User) -> None:
    text = "\n\n".join(f"Paragraph {number} of many." for number in range(2_000))
    document = make_document(owner, text=text, kind="text")
    page = page_of(visitor, to("document", document))
    assert "Part 1 of 3" in page
    assert "Paragraph 0 of" in page
    assert 'rel="prev"' not in page
    page = page_of(visitor, to("document", document, "?part=99"))
    assert "Part 3 of 3" in page
    assert "Paragraph 1999 of" in page
    assert 'rel="next"' not in page
    start = text.index("Paragraph 1000 of")
    page = page_of(visitor, to("document", document, f"?start={start}&end={start + 14}"))
    assert '<mark id="passage" tabindex="-1">Paragraph 1000</mark> of many.' in page
    assert "Part 2 of 3" in page


# ---------------------------------------------------------------- parts and passages, as numbers
def shown(text: str, **options: Any) -> tuple[str, str]:
    """What of a text is shown, without the blanks between paragraphs, and what of that is marked."""
    part = part_of(lambda start, length: text[start : start + length], characters=len(text), **options)
    pieces = [piece for page in part.pages for paragraph in page.paragraphs for piece in paragraph]
    assert sum(piece.is_first for piece in pieces) == any(piece.is_marked for piece in pieces)
    return "".join(piece.text for piece in pieces), "".join(piece.text for piece in pieces if piece.is_marked)


def check_parts_fit_together(text: str) -> None:
    count = part_of(lambda start, length: text[start : start + length], characters=len(text)).count
    parts = [shown(text, number=number)[0] for number in range(1, count + 1)]
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(parts)


@pytest.mark.parametrize("sign", ["\n\n", "\n", " ", ""])
@pytest.mark.parametrize("length", [1, PART_CHARACTERS, PART_CHARACTERS + 1, 3 * PART_CHARACTERS + 7])
def test_parts_fit_together(sign: str, length: int) -> None:
    check_parts_fit_together((("x" * 97 + sign) * (length // 97 + 1))[:length])


@pytest.mark.parametrize("rest", [1, 2, BREAK_CHARACTERS, 30_000])
@pytest.mark.parametrize("sign", BREAKS)
def test_parts_fit_together_wherever_the_only_break_is(sign: str, rest: int) -> None:
    for offset in (0, 1, 2, 250, *range(BREAK_CHARACTERS - 4, BREAK_CHARACTERS + 3)):
        check_parts_fit_together("a" * (PART_CHARACTERS + offset) + sign + "b" * rest)


# Letters and breaks around the places where parts may begin.
AROUND_A_BREAK = st.lists(st.sampled_from(["x", "y" * 249, "z" * 499, *BREAKS]), min_size=1, max_size=12).map("".join)


@given(AROUND_A_BREAK, AROUND_A_BREAK, AROUND_A_BREAK)
def test_parts_fit_together_whatever_the_text(first: str, second: str, end: str) -> None:
    filler = "f" * (PART_CHARACTERS - 1)
    check_parts_fit_together(filler + first + filler[len(first) :] + second + filler[: -len(second)] + "l" + end + "e")


@pytest.mark.parametrize("start", [0, 19_990, 20_000, 20_050, 20_200, 40_000, 45_000])
@pytest.mark.parametrize("page_starts", [[], [0, 5, 5, 20_010, 20_060, 40_001]])
def test_a_passage_is_shown_whole_wherever_it_begins(start: int, page_starts: list[int]) -> None:
    text = "".join(f"{number:05d} words\n\n" if number % 7 == 0 else f"{number:05d} words " for number in range(4_000))
    passage = Passage(start, start + 300)
    _, marked = shown(text, passage=passage, page_starts=page_starts)
    assert "".join(marked.split()) == "".join(text[start : start + 300].split())


@pytest.mark.parametrize(
    ("start", "end", "passage"),
    [
        (5, 9, Passage(5, 9)),
        (5, 5, None),
        (9, 5, None),
        (None, 5, None),
        (5, None, None),
        (100_000, 100_001, None),
        (99_999, 200_000, Passage(99_999, 100_000)),
        (0, 99_999, Passage(0, PART_CHARACTERS)),
    ],
)
def test_what_is_a_passage(start: int | None, end: int | None, passage: Passage | None) -> None:
    assert passage_within(start, end, characters=100_000) == passage


def test_a_passage_of_blanks_marks_nothing() -> None:
    assert shown("a\n\n  \n\nb", passage=Passage(1, 5)) == ("ab", "")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1 kB"),
        (3_440_000, "3.4 MB"),
        (999_960, "1 MB"),
        (1_000_000_000, "1 GB"),
        (5_000_000_000_000, "5 TB"),
    ],
)
def test_sizes_for_people(size: int, words: str) -> None:
    assert file_size(size) == words


def test_the_newest_upload_stands_first(owner: User) -> None:
    ids: list[UUID] = []
    for number in range(3):
        document, _ = add_document(owner, SimpleUploadedFile(f"{number}.txt", str(number).encode()))
        ids.insert(0, document.pk)
    assert [row.document.pk for row in document_list(owner).rows] == ids
