"""Files of one chat: its own list, what its box shows of them, and a chat that begins with one."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from chats.catalog.models import AIModel
from chats.knowledge.models import Document
from chats.models import Chat
from chats.pages.library import OWN_SHOWN
from chats.pages.tests.test_documents import HX, LIST, make_document, page_of, to, upload
from chats.services import delete_chat

NEW = "/chats/new/documents/"


def files_of(chat: Chat) -> str:
    return reverse("pages:chat_documents", args=[chat.pk])


def box_of(client: Client, chat: Chat) -> str:
    return page_of(client, f"{files_of(chat)}?composer", headers=HX)


def own(chat: Chat, name: str, **fields: object) -> Document:
    document = make_document(chat.user, name, **fields)
    Document.objects.filter(pk=document.pk).update(chat=chat.pk)
    return document


def ticked(page: str) -> set[str]:
    return set(re.findall(r'name="documents" value="([^"]+)" checked', page))


@pytest.mark.parametrize("script", [False, True])
def test_a_file_that_is_added_belongs_to_the_chat_and_is_used_by_it(visitor: Client, chat: Chat, script: bool) -> None:
    response = upload(visitor, ("a.txt", b"one"), address=files_of(chat), script=script)
    assert response.status_code == 201 if script else response.url == files_of(chat)
    document = Document.objects.get()
    chat.refresh_from_db()
    assert document.chat == chat.pk
    assert chat.retrieval == {"limit": 8, "documents": []}
    assert f'id="attached-{document.pk}"' in box_of(visitor, chat)
    again = upload(visitor, ("b.txt", b"one"), address=files_of(chat), script=True)
    assert (again.status_code, Document.objects.count()) == (200, 1)


def test_where_chosen_documents_are_used_it_is_one_of_them(visitor: Client, owner: User, chat: Chat) -> None:
    chosen = make_document(owner)
    Chat.objects.filter(pk=chat.pk).update(retrieval={"limit": 3, "documents": [str(chosen.pk)]})
    for _ in range(2):
        upload(visitor, ("a.txt", b"one"), address=files_of(chat), script=True)
    added = Document.objects.get(chat=chat.pk)
    chat.refresh_from_db()
    assert chat.retrieval == {"limit": 3, "documents": [str(chosen.pk), str(added.pk)]}
    assert ticked(box_of(visitor, chat)) == {str(chosen.pk), str(added.pk)}


def test_what_is_refused_changes_nothing(visitor: Client, chat: Chat, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 10
    for address in (files_of(chat), NEW):
        response = upload(visitor, ("a.txt", b"x" * 20), address=address, script=True)
        assert (response.status_code, response.content) == (413, b"This file has 20 bytes; at most 10 are allowed.")
        back = upload(visitor, ("a.txt", b"x" * 20), address=address)
        assert "«a.txt» was not uploaded. This file has 20 bytes" in page_of(visitor, back.url)
        assert visitor.post(address, headers=HX).status_code == 400
    chat.refresh_from_db()
    assert chat.retrieval is None
    assert (Chat.objects.count(), Document.objects.count()) == (1, 0)


def test_a_chat_may_begin_with_a_file(visitor: Client, owner: User, demo_model: AIModel) -> None:
    assert NEW in page_of(visitor, "/")
    assert "A new chat with files" in page_of(visitor, NEW)
    response = upload(visitor, ("a.txt", b"one"), address=NEW, script=True, model=str(demo_model.pk))
    chat = Chat.objects.get()
    assert response.headers["HX-Push-Url"] == reverse("pages:chat", args=[chat.pk])
    assert (chat.title, chat.model, chat.retrieval) == ("", demo_model, {"limit": 8, "documents": []})
    assert Document.objects.get().chat == chat.pk
    # A form may bring several, and the same file again begins another chat.
    back = upload(visitor, ("a.txt", b"one"), ("b.txt", b"two"), address=NEW)
    other = Chat.objects.exclude(pk=chat.pk).get()
    assert back.url == files_of(other)
    assert "2 files are uploaded." in page_of(visitor, back.url)
    assert Document.objects.filter(chat=other.pk).count() == 2


def test_a_model_that_may_not_be_used_begins_no_chat(visitor: Client, db: None) -> None:
    assert upload(visitor, ("a.txt", b"one"), address=NEW, script=True, model="nonsense").status_code == 400
    assert not Document.objects.exists()


def test_the_box_says_how_each_file_is(visitor: Client, chat: Chat) -> None:
    own(chat, "ready.pdf")
    assert "data-unfinished" not in box_of(visitor, chat)
    own(chat, "waits.md", status="pending")
    own(chat, "read.pdf", status="indexing", done=1, total=4)
    own(chat, "<scan>.pdf", status="failed", error_message="It holds <pictures> only.")
    address = reverse("pages:chat", args=[chat.pk])
    for page in (box_of(visitor, chat), page_of(visitor, address)):
        for words in (
            '<span class="visually-hidden">Ready</span>',
            ">Waiting<",
            "Reading 25 %",
            "Reading, page 1 of 4.",
            "Could not be read",
            '<span dir="auto">It holds &lt;pictures&gt; only.</span>',
            "&lt;scan&gt;.pdf",
            "data-unfinished>",
        ):
            assert words in page


def test_of_many_files_the_box_shows_the_newest_and_names_the_others(visitor: Client, chat: Chat) -> None:
    made = [own(chat, f"{number}.txt") for number in range(OWN_SHOWN + 2)]
    shown = re.findall(r'id="attached-([0-9a-f-]{36})"', box_of(visitor, chat))
    assert shown == [str(document.pk) for document in made[2:]]
    assert f"All {OWN_SHOWN + 2} files" in box_of(visitor, chat)


def test_documents_of_other_chats_are_not_offered(visitor: Client, owner: User, chat: Chat) -> None:
    other = Chat.objects.create(user=owner)
    own(other, "Other.pdf")
    make_document(owner, "Mine.pdf")
    page = box_of(visitor, chat)
    assert "Mine.pdf" in page
    assert "Other.pdf" not in page
    assert "Other.pdf" not in page_of(visitor, "/")


def test_from_the_box_one_deletes_and_retries_and_is_in_the_chat_again(visitor: Client, chat: Chat) -> None:
    document = own(chat, "scan.pdf", status="failed")
    address, back = reverse("pages:chat", args=[chat.pk]), {"from_chat": "true"}
    assert visitor.post(to("retry_document", document), back).url == address
    assert document.versions.get().status == "pending"
    assert visitor.post(to("delete_document", document), back).url == address
    assert "attached-" not in box_of(visitor, chat)


def test_the_list_of_a_chat_has_its_files_only_and_the_library_says_whose_they_are(
    visitor: Client, owner: User, chat: Chat
) -> None:
    make_document(owner, "Mine.pdf")
    document = own(chat, "own.pdf")
    page = page_of(visitor, files_of(chat))
    assert "own.pdf" in page
    assert "Mine.pdf" not in page
    assert f'action="{files_of(chat)}"' in page
    link = f'only in <a href="{reverse("pages:chat", args=[chat.pk])}" dir="auto">«Tides»</a>'
    for address in (LIST, to("document", document)):
        assert link in page_of(visitor, address)
    assert link in page_of(visitor, LIST, data={"row": document.pk}, headers=HX)
    # One of no chat, and one whose chat is gone: stored just when it was deleted.
    delete_chat(chat)
    Document.objects.update(deleted_at=None)
    assert "only in a chat that was deleted" in page_of(visitor, LIST)
    assert 'name="space"' not in page_of(visitor, to("rename_document", document))


def test_a_long_list_of_a_chat_goes_on(visitor: Client, chat: Chat) -> None:
    for number in range(31):
        own(chat, f"{number}.txt")
    more = re.search(r'class="more" href="([^"]+)"', page_of(visitor, files_of(chat)))[1]
    assert more.startswith(files_of(chat))
    assert page_of(visitor, more, headers=HX).count("document-row") == 1
    assert f'href="{files_of(chat)}">Newest documents' in page_of(visitor, more)


@pytest.mark.parametrize("person", ["stranger", "superuser"])
def test_a_chat_that_is_not_ones_own_looks_missing(
    request: pytest.FixtureRequest, chat: Chat, client_of: Callable[[User], Client], person: str
) -> None:
    own(chat, "Secret.pdf")
    client = client_of(request.getfixturevalue(person))
    for headers in ({}, HX):
        assert client.get(f"{files_of(chat)}?composer", headers=headers).status_code == 404
    for script in (False, True):
        assert upload(client, ("a.txt", b"one"), address=files_of(chat), script=script).status_code == 404
    assert Document.objects.count() == 1
    delete_chat(chat)
    assert upload(client_of(chat.user), ("a.txt", b"one"), address=files_of(chat)).status_code == 404


def test_whoever_is_not_signed_in_is_asked_to(client: Client, chat: Chat) -> None:
    for address in (files_of(chat), NEW):
        assert client.get(address).status_code == 302
        assert upload(client, ("a.txt", b"one"), address=address, script=True).status_code == 401
