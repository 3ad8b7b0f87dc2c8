"""Documents are read by whoever has time for it, whatever dies meanwhile, and never twice at once."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.models import User
from chats.knowledge.models import Chunk, Document, DocumentVersion, Embedding
from chats.knowledge.search import search_chunks
from chats.knowledge.services import add_document, add_version, delete_document, retry_document
from config.tests.live import LiveServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "\n\n".join(f"Paragraph {number} is about the number {number} and little else." for number in range(400))


def upload(user: User, text: str = TEXT, name: str = "numbers.txt") -> Document:
    return add_document(user, ContentFile(text.encode(), name=name))[0]


def is_finished(document: Document) -> bool:
    return not document.versions.exclude(status__in=["ready", "failed"]).exists()


def wait_for(document: Document) -> DocumentVersion:
    wait_until(lambda: is_finished(document), seconds=20, what="the document is read")
    return document.versions.first()


def test_an_upload_is_read_and_found(live: LiveServer, owner: User) -> None:
    document = upload(owner)
    version = wait_for(document)
    assert (version.status, version.kind, version.characters) == ("ready", "text", len(TEXT))
    assert version.chunk_count == version.chunks.count() > 20
    assert sum(version.embeddings.values_list("count", flat=True)) == version.chunk_count
    assert "number 217" in search_chunks(owner, "217", limit=1)[0].text


def test_what_a_dead_worker_left_is_read_again_from_the_beginning(live: LiveServer, owner: User) -> None:
    document = upload(owner)
    version = wait_for(document)
    Document.objects.filter(pk=document.pk).update(current=None)
    died = {"status": "indexing", "worker": "dead", "heartbeat_at": timezone.now() - timedelta(hours=1)}
    DocumentVersion.objects.filter(pk=version.pk).update(**died)
    again = wait_for(document)
    assert (again.status, again.attempt) == ("ready", 2)
    assert again.chunks.count() == again.chunk_count == version.chunk_count


def test_one_that_can_not_be_read_says_why_and_others_are_read(live: LiveServer, owner: User) -> None:
    bad, good = upload(owner, "\x01\x02\x03" * 500, "bad.txt"), upload(owner)
    failed = wait_for(bad)
    assert (failed.status, failed.error_code) == ("failed", "unsupported")
    assert failed.error_message
    assert wait_for(good).status == "ready"
    retry_document(bad)
    assert wait_for(bad).status == "failed"


def test_a_lost_file_is_a_failure_and_no_loop(live: LiveServer, owner: User) -> None:
    document = upload(owner)
    wait_for(document)
    version = document.versions.get()
    version.file.storage.delete(version.file.name)
    DocumentVersion.objects.filter(pk=version.pk).update(status="failed")
    retry_document(document)
    assert wait_for(document).error_code == "file_lost"


def test_what_is_deleted_or_replaced_leaves_no_rows_and_no_file(live: LiveServer, owner: User) -> None:
    kept, gone = upload(owner), upload(owner, "Other words. " * 300, "other.txt")
    wait_for(kept)
    wait_for(gone)
    file = gone.versions.get().file
    delete_document(gone)
    add_version(kept, ContentFile(b"Quite new.", name="new.txt"))
    wait_until(lambda: not Document.objects.filter(pk=gone.pk).exists(), seconds=20, what="its rows are gone")
    assert not file.storage.exists(file.name)
    wait_until(lambda: Chunk.objects.count() == 1, seconds=20, what="the chunks of the old version are gone")
    assert Embedding.objects.count() == 1
    assert search_chunks(owner, "217", limit=1, ways=["text"]) == []


def test_deleted_while_it_is_read(live: LiveServer, owner: User) -> None:
    document = upload(owner, "\n\n".join(f"{TEXT} {number}" for number in range(50)))
    indexing = document.versions.filter(status="indexing", chunks__isnull=False)
    wait_until(indexing.exists, seconds=20, what="its first parts are stored")
    delete_document(document)
    wait_until(lambda: not Document.objects.exists(), seconds=20, what="its rows are gone")
    assert not Chunk.objects.exists()
