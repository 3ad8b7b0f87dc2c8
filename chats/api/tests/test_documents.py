"""Documents through the API: upload, state, search, versions, and what is refused. They are read by the engine."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile

from chats.knowledge import hashing, indexing
from chats.knowledge.models import Document, DocumentVersion, Embedder
from chats.knowledge.services import add_document, retry_document
from chats.knowledge.tests.library import index_next, shelve
from chats.services import create_chat

DOCUMENTS, SEARCH = "/api/v1/documents/", "/api/v1/documents/search/"
PARAGRAPHS = ["The battery lasts 24 months.", "Refunds are paid within 14 days."]


@pytest.fixture(autouse=True)
def _own_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def upload(api, content=b"Words.", name="notes.txt", url=DOCUMENTS, **fields):
    file = SimpleUploadedFile(name, content)
    return api.post(url, {"file": file, **fields}, format="multipart")


def error_of(response, status):
    assert response.status_code == status, response.content
    return response.json()["error"]


def test_an_upload_is_there_at_once_and_waits_to_be_read(api):
    response = upload(api, name="C:\\Users\\me\\notes.txt", space="work")
    assert response.status_code == 201
    made = response.json()
    assert (made["name"], made["space"], made["status"], made["size"]) == ("notes.txt", "work", "pending", 6)
    assert not made["is_searchable"]
    assert api.get(f"{DOCUMENTS}{made['id']}/").json() == made
    assert api.get(DOCUMENTS).json()["results"] == [made]


def test_the_same_file_twice_is_one_document(api):
    first, again = upload(api), upload(api, name="other.txt")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert upload(api, space="work").status_code == 201, "in another place it is another"
    assert DocumentVersion.objects.count() == 2


def test_a_ready_document_can_be_searched_read_and_downloaded(api, owner):
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    shown = api.get(f"{DOCUMENTS}{document.pk}/").json()
    assert (shown["status"], shown["is_searchable"], shown["chunks"]) == ("ready", True, 2)
    (found, *_) = api.post(SEARCH, {"query": "How long does the battery last?", "limit": 1}).json()["results"]
    assert (found["document"], found["text"]) == (str(document.pk), PARAGRAPHS[0])
    text = api.get(f"{DOCUMENTS}{document.pk}/text/", {"start": found["start"]}).json()
    assert text["text"][: found["end"] - found["start"]] == PARAGRAPHS[0]
    assert text["next"] is None
    response = api.get(f"{DOCUMENTS}{document.pk}/file/")
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == 'attachment; filename="manual.txt"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert b"".join(response.streaming_content).endswith(PARAGRAPHS[1].encode())
    response.close()


def test_a_new_version_is_searched_once_it_is_ready(api, owner):
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    response = upload(api, b"New words.", url=f"{DOCUMENTS}{document.pk}/versions/")
    assert (response.status_code, response.json()["version"], response.json()["status"]) == (201, 2, "pending")
    assert response.json()["is_searchable"], "the one before it"
    index_next(["The battery lasts 36 months."])
    (found, *_) = api.post(SEARCH, {"query": "battery"}).json()["results"]
    assert (found["version"], "36" in found["text"]) == (2, True)
    old = api.get(f"{DOCUMENTS}{document.pk}/text/", {"version": 1}).json()
    assert PARAGRAPHS[0] in old["text"]


def test_one_that_could_not_be_read_says_why_and_can_be_tried_again(api, owner):
    made = upload(api).json()
    reading = indexing.claim_next("test")
    indexing.fail(reading, "encrypted", "It has a password.")
    shown = api.get(f"{DOCUMENTS}{made['id']}/").json()
    assert (shown["status"], shown["error"]) == ("failed", {"code": "encrypted", "message": "It has a password."})
    assert api.get(DOCUMENTS, {"status": "failed"}).json()["results"] == [shown]
    assert api.get(DOCUMENTS, {"status": "ready"}).json()["results"] == []
    again = api.post(f"{DOCUMENTS}{made['id']}/retry/").json()
    assert (again["status"], again["error"]) == ("pending", None)
    assert error_of(api.post(f"{DOCUMENTS}{made['id']}/retry/"), 409)["code"] == "document_unfinished"


def test_whose_servers_die_again_and_again_fails_in_the_end(api, settings):
    settings.DOCUMENT_MAX_ATTEMPTS = 2
    settings.REPLY_STALE_SECONDS = -1
    made = upload(api).json()
    assert indexing.claim_next("one").version.attempt == 1
    assert indexing.claim_next("two").version.attempt == 2
    assert indexing.claim_next("three") is None
    assert api.get(f"{DOCUMENTS}{made['id']}/").json()["error"]["code"] == "interrupted"


def test_who_was_taken_for_dead_writes_nothing_any_more(owner, api, settings):
    settings.REPLY_STALE_SECONDS = -1
    upload(api)
    lost = indexing.claim_next("one")
    indexing.claim_next("two")
    with pytest.raises(indexing.Lost):
        indexing.note_progress(lost, done=1, total=2)
    with pytest.raises(indexing.Lost):
        indexing.finish(lost, chunk_count=0)
    with pytest.raises(indexing.Lost):
        indexing.fail(lost, "x", "x")


def test_one_that_could_not_be_read_is_read_anew_when_it_is_sent_again(api):
    made = upload(api).json()
    DocumentVersion.objects.update(status="failed", error_code="file_lost", error_message="Lost.")
    for again in (upload(api), upload(api, url=f"{DOCUMENTS}{made['id']}/versions/")):
        assert again.status_code == 200
        shown = again.json()
        assert (shown["id"], shown["version"], shown["status"], shown["error"]) == (made["id"], 1, "pending", None)
        DocumentVersion.objects.update(status="failed")
    assert Document.objects.count() == 1


def test_a_file_that_was_lost_is_taken_again(api, owner, settings):
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    version = document.versions.get()
    with version.file.open("rb") as file:
        content = file.read()
    version.file.storage.delete(version.file.name)
    url = f"{DOCUMENTS}{document.pk}/"
    assert "Upload it again" in error_of(api.get(f"{url}file/"), 404)["message"]

    assert upload(api, content).status_code == 200

    assert api.get(url).json()["status"] == "ready"
    (kept,) = files_in(settings.MEDIA_ROOT)
    assert kept.read_bytes() == content


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_same_file_as_a_new_version_changes_nothing(api, settings):
    made = upload(api).json()
    again = upload(api, url=f"{DOCUMENTS}{made['id']}/versions/")
    assert (again.status_code, again.json()) == (200, made)
    assert len(files_in(settings.MEDIA_ROOT)) == 1


def test_a_disk_without_room_is_an_error_with_a_code_and_leaves_nothing(api, settings, monkeypatch):
    def write_some(self, name, content):
        Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
        Path(self.path(name)).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileSystemStorage, "_save", write_some)
    assert error_of(upload(api), 507)["code"] == "storage_failed"
    assert not Document.objects.exists()
    assert not files_in(settings.MEDIA_ROOT)


def test_a_document_is_not_moved_where_its_file_is_already(api):
    here, there = upload(api).json(), upload(api, space="work", name="there.txt").json()
    refused = api.patch(f"{DOCUMENTS}{here['id']}/", {"space": "work"}, format="json")
    assert "there.txt" in error_of(refused, 409)["message"]
    assert api.patch(f"{DOCUMENTS}{there['id']}/", {"space": "work", "name": "x"}, format="json").status_code == 200


def test_the_text_of_documents_counts_as_room(api, settings):
    upload(api)
    DocumentVersion.objects.update(characters=2_000)
    settings.DOCUMENT_BYTES_PER_USER = 1_000
    assert error_of(upload(api, b"More words."), 413)["code"] == "quota_exceeded"


def test_three_people_with_many_documents_take_turns(owner, stranger, staff):
    for user in (owner, stranger, staff):
        for number in range(3):
            add_document(user, ContentFile(f"{number}".encode(), name="x.txt"))
    turns, last = [], None
    for _ in range(9):
        reading = indexing.claim_next("turns", after_user=last)
        last = reading.user_id
        turns.append(last)
    assert all(len(set(turns[at : at + 3])) == 3 for at in range(7))
    assert indexing.claim_next("turns", after_user=last) is None


def test_one_that_fails_for_its_dead_servers_lets_the_next_be_read(owner, settings):
    first, _ = add_document(owner, ContentFile(b"1", name="1.txt"))
    add_document(owner, ContentFile(b"2", name="2.txt"))
    first.versions.update(attempt=settings.DOCUMENT_MAX_ATTEMPTS)
    assert indexing.claim_next("next").name == "2.txt"
    assert first.versions.get().error_code == "interrupted"


def test_what_is_read_anew_is_not_purged(api, owner):
    """A purge that had found the leftovers of a failed attempt must not take what the next one writes."""
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    document.versions.update(status="failed", has_leftovers=True)
    Document.objects.update(current=None)
    retry_document(document)
    index_next(PARAGRAPHS)
    while indexing.purge_some():
        pass
    assert document.versions.get().chunks.count() == 2
    assert api.post(SEARCH, {"query": "battery"}).json()["results"]


def test_a_change_of_embedders_fails_no_document_that_is_being_read(api, owner):
    add_document(owner, ContentFile(b"x", name="x.txt"))
    reading = indexing.claim_next("slow")
    old = reading.builtin
    Embedder.objects.filter(pk=old.pk).retire()
    while indexing.purge_some():
        pass
    part = indexing.Part(0, 0, 3, None, "", "The zeppelin.", "zeppelin")
    indexing.store_parts(reading, [part], hashing.embed(["zeppelin"]), done=1, total=1)
    indexing.finish(reading, chunk_count=1)
    version = DocumentVersion.objects.get()
    assert (version.status, version.lacks_vectors) == ("ready", True)
    assert api.post(SEARCH, {"query": "zeppelin"}).json()["results"]


def test_rename_move_and_delete(api, owner):
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    url = f"{DOCUMENTS}{document.pk}/"
    changed = api.patch(url, {"name": "Handbook", "space": "work"}).json()
    assert (changed["name"], changed["space"]) == ("Handbook", "work")
    assert error_of(api.patch(url, {"name": "  "}), 400)["fields"].keys() == {"name"}
    assert api.delete(url).status_code == 204
    assert error_of(api.get(url), 404)
    assert api.post(SEARCH, {"query": "battery"}).json()["results"] == []
    assert api.get(DOCUMENTS).json()["results"] == []


@pytest.mark.parametrize(
    ("limits", "content", "expected"),
    [
        ({"UPLOAD_MAX_BYTES": 10}, b"x" * 11, (413, "too_large")),
        ({"DOCUMENTS_PER_USER": 1}, b"one more", (413, "quota_exceeded")),
        ({"DOCUMENT_BYTES_PER_USER": 20}, b"x" * 20, (413, "quota_exceeded")),
        ({"UPLOADS_PER_HOUR": 1}, b"one more", (429, "too_many")),
        ({}, b"", (400, "invalid")),
    ],
    ids=["size", "count", "quota", "rate", "empty"],
)
def test_what_is_too_much_is_refused_and_leaves_nothing(api, settings, limits, content, expected):
    upload(api, b"first")
    for name, value in limits.items():
        setattr(settings, name, value)
    status, code = expected
    assert error_of(upload(api, content), status)["code"] == code
    assert Document.objects.count() == 1
    stored = [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]
    assert len(stored) == 1


@pytest.mark.parametrize("body", [{}, {"file": "text"}, {"file": None}])
def test_without_a_file_nothing_is_made(api, body):
    error = error_of(api.post(DOCUMENTS, body), 400)
    assert error["fields"].keys() == {"file"}
    assert error_of(api.post(DOCUMENTS, {"name": "x"}, format="multipart"), 400)["fields"].keys() == {"file"}


def test_a_broken_form_is_refused(api):
    broken = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nnever ends"
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=\xff"):
        assert api.post(DOCUMENTS, broken, content_type=kind).status_code in {400, 415}


@pytest.mark.parametrize("name", ["", "a" * 500 + ".pdf", "../../etc/passwd", "a\x00b\n.txt", "Ünïcödé 🎉.txt"])
def test_any_name_is_a_name_and_never_a_path(api, name):
    file = SimpleUploadedFile(name or "x", b"Words.")
    response = api.post(DOCUMENTS, {"file": file, "name": name}, format="multipart")
    assert response.status_code == 201
    shown = response.json()["name"]
    assert 0 < len(shown) <= 200
    assert "/" not in shown
    assert "\x00" not in shown
    stored = DocumentVersion.objects.get().file.name
    assert stored.startswith("documents/")
    assert name not in stored or not name


@pytest.mark.parametrize("name", ["\u202e", "\u200b\u200b", " \u2060 "])
def test_a_name_of_signs_nobody_sees_is_none(api, name):
    response = api.post(DOCUMENTS, {"file": SimpleUploadedFile("x", b"Words."), "name": name}, format="multipart")
    assert error_of(response, 400)["fields"]["name"]


def test_a_version_that_is_not_read_yet_has_no_text(api):
    made = upload(api).json()
    for query in ({}, {"version": 1}):
        assert api.get(f"{DOCUMENTS}{made['id']}/text/", query).status_code == 404


def test_a_chat_that_is_named_must_be_one_s_own(api, owner, stranger):
    mine, foreign = create_chat(owner), create_chat(stranger)
    assert upload(api, chat=str(mine.pk)).json()["chat"] == str(mine.pk)
    assert error_of(upload(api, b"other", chat=str(foreign.pk)), 404)
    assert error_of(upload(api, b"other", chat=str(uuid4())), 404)


def test_the_documents_of_a_chat_go_and_come_back_with_it(api, owner, settings):
    chat, other = create_chat(owner), create_chat(owner)
    own = shelve(owner, "own.txt", PARAGRAPHS, chat=chat.pk)
    shelve(owner, "others.txt", PARAGRAPHS, chat=other.pk)
    unread = upload(api, b"Not read yet.", name="unread.txt", chat=str(chat.pk)).json()["id"]
    gone = upload(api, b"Not wanted.", name="gone.txt", chat=str(chat.pk)).json()["id"]
    api.delete(f"{DOCUMENTS}{gone}/")
    assert api.delete(f"/api/v1/chats/{chat.pk}/").status_code == 204
    assert [row["name"] for row in api.get(DOCUMENTS).json()["results"]] == ["others.txt"]
    assert api.post(SEARCH, {"query": "battery", "documents": [str(own.pk)]}).status_code == 404
    assert indexing.claim_next("test") is None, "nobody reads what is deleted"
    # What was deleted by itself goes; what went with the chat waits for the undo.
    assert indexing.purge_some()
    assert not indexing.purge_some()
    assert not Document.objects.filter(pk=gone).exists()
    assert api.post(f"/api/v1/chats/{chat.pk}/restore/").status_code == 200
    assert {row["name"] for row in api.get(DOCUMENTS).json()["results"]} == {"own.txt", "others.txt", "unread.txt"}
    (found,) = api.post(SEARCH, {"query": "battery", "documents": [str(own.pk)], "limit": 1}).json()["results"]
    assert found["text"] == PARAGRAPHS[0]
    assert indexing.claim_next("test").name == "unread.txt"
    assert api.get(f"{DOCUMENTS}{unread}/").json()["status"] == "indexing"
    # A repeated restore brings back nothing that was deleted since.
    api.delete(f"{DOCUMENTS}{unread}/")
    assert api.post(f"/api/v1/chats/{chat.pk}/restore/").status_code == 200
    assert api.get(f"{DOCUMENTS}{unread}/").status_code == 404


def test_the_documents_of_a_chat_that_can_not_come_back_go_for_good(api, owner, settings):
    chat = create_chat(owner)
    shelve(owner, "own.txt", PARAGRAPHS, chat=chat.pk)
    api.delete(f"/api/v1/chats/{chat.pk}/")
    settings.CHAT_UNDO_SECONDS = -1
    while indexing.purge_some():
        pass
    assert not Document.objects.exists()
    assert not [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]


WRONG = [7, True, None, [], {}, "x" * 3_000, "", -1, 10**30, [1], ["x"], {"a": 1}]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:10])
@pytest.mark.parametrize("field", ["query", "limit", "documents"])
def test_a_search_takes_any_value_or_names_the_field(api, field, value):
    body = json.dumps({"query": "x", field: value})
    response = api.post(SEARCH, body, content_type="application/json")
    if response.status_code != 200:
        assert {name.split(".")[0] for name in error_of(response, 400)["fields"]} == {field}


def test_searches_are_counted(api, settings):
    settings.SEARCHES_PER_MINUTE = 1
    assert api.post(SEARCH, {"query": "x"}).status_code == 200
    assert api.post(SEARCH, {"query": "x"}).status_code == 429


def test_a_foreign_document_can_not_be_searched(api, owner, stranger):
    foreign = shelve(stranger, "theirs.txt", ["The battery is theirs."])
    assert api.post(SEARCH, {"query": "battery"}).json()["results"] == []
    missing = error_of(api.post(SEARCH, {"query": "battery", "documents": [str(uuid4())]}), 404)
    refused = error_of(api.post(SEARCH, {"query": "battery", "documents": [str(foreign.pk)]}), 404)
    assert refused["message"] == missing["message"]


@pytest.mark.parametrize("query", [{"start": "-1"}, {"start": "x"}, {"version": "0"}, {"version": "x"}])
def test_odd_places_in_a_text_are_refused(api, owner, query):
    document = shelve(owner, "manual.txt", PARAGRAPHS)
    assert error_of(api.get(f"{DOCUMENTS}{document.pk}/text/", query), 400)["fields"]
    assert error_of(api.get(f"{DOCUMENTS}{document.pk}/text/", {"version": 7}), 404)
