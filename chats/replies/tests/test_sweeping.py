"""Files go with the rows that named them, also with rows that went by themselves."""

import asyncio
import os
import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.urls import reverse
from structlog.testing import capture_logs

from chats.knowledge.models import DocumentVersion
from chats.knowledge.services import add_document, delete_document
from chats.replies.sweeping import keep_sweeping
from config.tests.live import wait_until


@pytest.fixture(autouse=True)
def media(settings, tmp_path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def files_in(media):
    return {path for path in media.rglob("*") if path.is_file()}


def upload(user, content, *, hours=2):
    """A document whose file was stored so long ago; and that file."""
    document, _ = add_document(user, ContentFile(content.encode(), name=f"{content}.txt"))
    path = Path(document.newest[0].file.path)
    age(path, hours=hours)
    return document, path


def age(path, *, hours):
    os.utime(path, (time.time() - hours * 3600,) * 2)


def sweep(*options):
    said = StringIO()
    call_command("sweep_files", *options, stdout=said)
    return said.getvalue().strip()


def test_the_files_of_a_deleted_person_go_and_no_others(owner, stranger, superuser, client_of, media):
    upload(owner, "one")
    upload(owner, "two")
    document, kept = upload(stranger, "kept")
    # It is only marked: the purge takes it away, with its rows.
    delete_document(document)
    client_of(superuser).post(reverse("admin:accounts_user_delete", args=[owner.pk]), {"post": "yes"})
    assert not DocumentVersion.objects.filter(document__user=owner.pk).exists()
    assert sweep("--dry-run") == "2 of 3 files to be deleted."
    assert len(files_in(media)) == 3
    assert sweep() == "2 of 3 files deleted."
    assert files_in(media) == {kept}
    assert sweep() == "0 of 1 files deleted."


def test_a_file_whose_row_may_still_come_stays(db, media):
    folder = media / "documents" / "ab"
    folder.mkdir(parents=True)
    (folder / "just-now").write_text("on its way")
    (folder / "left").write_text("of a server that died")
    age(folder / "left", hours=2)
    assert sweep() == "1 of 2 files deleted."
    assert files_in(media) == {folder / "just-now"}


def test_where_nothing_was_ever_uploaded_there_is_nothing_to_do(db):
    assert sweep() == "0 of 0 files deleted."


@pytest.mark.django_db(transaction=True)
def test_a_server_does_it_by_itself_but_takes_no_other_database_for_its_own(owner, stranger, settings, media):
    settings.FILE_SWEEP_SECONDS = 0.01
    _, kept = upload(owner, "kept")
    _, left = upload(stranger, "left")
    _, also_left = upload(stranger, "also left")

    async def until(is_so, what):
        task = asyncio.create_task(keep_sweeping())
        await asyncio.to_thread(wait_until, is_so, seconds=10, what=what)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stranger.documents.all().delete()
    with capture_logs() as said:
        asyncio.run(until(lambda: any(line["event"] == "file_sweep_refused" for line in said), "two of three stay"))
    assert files_in(media) == {kept, left, also_left}
    upload(owner, "another")
    upload(owner, "one more")
    asyncio.run(until(lambda: not left.exists() and not also_left.exists(), "what no row names is gone"))
    assert len(files_in(media)) == 3
