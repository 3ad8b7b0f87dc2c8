"""Staff look at documents: whose, how large, why one could not be read; never what stands in them."""

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.knowledge.models import Document, DocumentVersion
from chats.knowledge.services import add_document
from chats.knowledge.tests.library import shelve

TABLES = ["document", "documentversion"]
SECRET = "The battery lasts 24 months."


@pytest.fixture
def desk(superuser: User, client_of) -> Client:
    return client_of(superuser)


@pytest.fixture
def document(owner: User, settings, tmp_path) -> Document:
    settings.MEDIA_ROOT = tmp_path
    return shelve(owner, "<b>secret.txt", [SECRET])


def list_url(table: str) -> str:
    return reverse(f"admin:knowledge_{table}_changelist")


def text(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("table", TABLES)
def test_lists_name_the_owner_and_not_what_it_is(desk: Client, document: Document, owner: User, table: str) -> None:
    page = text(desk.get(list_url(table)))
    assert owner.email in page
    assert "ready" in page
    assert "secret" not in page
    assert "battery" not in page
    assert "0 d" in text(desk.get(list_url(table), {"q": "nobody"}))


@pytest.mark.parametrize("table", TABLES)
def test_a_rows_own_page_shows_no_text_and_changes_nothing(desk: Client, document: Document, table: str) -> None:
    row = document if table == "document" else document.versions.get()
    url = reverse(f"admin:knowledge_{table}_change", args=[row.pk])
    page = text(desk.get(url))
    assert "&lt;b&gt;secret" in page
    assert "battery" not in page
    assert desk.post(url, {}).status_code == 403
    assert desk.post(reverse(f"admin:knowledge_{table}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_why_one_could_not_be_read_is_found(desk: Client, document: Document, owner: User) -> None:
    failed, _ = add_document(owner, ContentFile(b"other", name="x.txt"))
    DocumentVersion.objects.filter(document=failed).update(status="failed", error_code="encrypted")
    page = text(desk.get(list_url("documentversion"), {"error_code": "encrypted"}))
    assert "1 document version" in page


@pytest.mark.parametrize("table", TABLES)
def test_lists_take_the_same_queries_for_any_number_of_rows(
    desk: Client, document: Document, *, table: str, django_assert_num_queries, django_assert_max_num_queries
) -> None:
    with django_assert_max_num_queries(14) as few:
        desk.get(list_url(table))
    for number in range(5):
        user = User.objects.create_user(f"person{number}@example.org")
        add_document(user, ContentFile(f"{number}".encode(), name=f"{number}.txt"))
    with django_assert_num_queries(len(few)):
        desk.get(list_url(table))


def test_staff_without_the_right_see_nothing(staff: User, client_of, document: Document) -> None:
    assert [client_of(staff).get(list_url(table)).status_code for table in TABLES] == [403, 403]


def test_what_is_theirs_goes_with_a_person(desk: Client, document: Document, owner: User) -> None:
    desk.post(reverse("admin:accounts_user_delete", args=[owner.pk]), {"post": "yes"})
    assert not Document.objects.exists()
