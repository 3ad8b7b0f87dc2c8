"""Verbs on documents. Each is one transaction and tells who waits once it is committed.

Reading a document is the engine's work (`chats.replies.documents`); here it is only asked for.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import F, Max, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import limits
from accounts.models import User
from accounts.queries import found
from chats import doorbell
from chats.cleaning import SPACE_MAX_LENGTH, check_line
from chats.errors import Conflict, Invalid, NotFound
from chats.knowledge.errors import DocumentTooLarge, DocumentUnfinished, QuotaExceeded, StorageFailed
from chats.knowledge.models import Document, DocumentVersion
from chats.knowledge.models.document import NAME_MAX_LENGTH, place_of_file

logger = structlog.get_logger(__name__)

UPLOADS_SECONDS = 3600
READ_BYTES = 1 << 20


def add_document(
    user: User, file: File, *, name: str = "", space: str = "", chat: UUID | None = None
) -> tuple[Document, bool]:
    """Store what `user` uploads and have it read; the same file again is the document that is there, and False.

    A file that was lost, or could not be read, takes its place there and is read anew. `chat` is one of `user`'s, which
    the caller has looked at. Raises Invalid, TooMany, DocumentTooLarge, QuotaExceeded and StorageFailed.
    """
    fields = _clean({"name": name or file.name or "", "space": space})
    digest = _digest_of(file)
    place = {"space": fields["space"], "chat": chat}
    if (same := _same_file(user, digest, **place)) and _is_kept(same.newest[0]):
        return same, False
    limits.hit("uploads", str(user.pk), limit=settings.UPLOADS_PER_HOUR, seconds=UPLOADS_SECONDS)
    if same is None:
        _check_quota(user, file.size, is_new=True)
    document = Document(user=user, chat=chat, **fields)
    with _stored(document, file, digest) as version, transaction.atomic(durable=True):
        _lock(user)
        # Somebody may have been quicker, in another tab.
        same = _same_file(user, digest, **place)
        if same is None:
            _check_quota(user, version.size, is_new=True)
            document.save(force_insert=True)
            _insert_version(version)
        else:
            _take_for(same.newest[0], version)
    if same is not None:
        return same, False
    document.newest = [version]
    return document, True


def add_version(document: Document, file: File) -> Document:
    """Put a new file in the place of `document`'s; the earlier one is searched until the new one is ready.

    The same file again changes nothing. Raises as `add_document`.
    """
    user, digest = document.user, _digest_of(file)
    newest = _newest(document)
    is_same = newest is not None and newest.sha256 == digest
    if newest is not None and is_same and _is_kept(newest):
        document.newest = [newest]
        return document
    limits.hit("uploads", str(user.pk), limit=settings.UPLOADS_PER_HOUR, seconds=UPLOADS_SECONDS)
    if not is_same:
        _check_quota(user, file.size, is_new=False)
    with _stored(document, file, digest) as version, transaction.atomic(durable=True):
        _lock(user)
        locked = found(Document.objects.visible_to(user).select_for_update(), pk=document.pk)
        newest = _newest(locked)
        if newest is not None and newest.sha256 == digest:
            _take_for(newest, version)
        else:
            _check_quota(user, version.size, is_new=False)
            _append_version(locked, version)
            newest = version
    locked.newest = [newest]
    return locked


def update_document(document: Document, **changes: Any) -> Document:
    """Write only the named fields: name, space. Raises Invalid, Conflict where the same file is in that space."""
    with transaction.atomic(durable=True):
        locked = found(Document.objects.visible_to(document.user).select_for_update(), pk=document.pk)
        fields = _clean(changes) | {"updated_at": timezone.now()}
        _check_place(locked, fields.get("space", locked.space))
        for name, value in fields.items():
            setattr(locked, name, value)
        locked.save(update_fields=list(fields))
    return locked


def delete_document(document: Document) -> None:
    """It is gone from every list and search at once; its rows and files follow."""
    with transaction.atomic(durable=True):
        # Of no chat any more: an undo of its chat's deletion is not to bring it back.
        _mark_deleted(Document.objects.filter(pk=document.pk), chat=None)


def delete_documents_of_chat(user_id: UUID, chat_id: UUID) -> None:
    """As `delete_document`, those that are this chat's alone, within the transaction in which the caller deletes it.

    Their rows and files stay as long as the chat may come back.
    """
    _mark_deleted(Document.objects.of_chat(user_id, chat_id))


def restore_documents_of_chat(user_id: UUID, chat_id: UUID) -> None:
    """Undo `delete_documents_of_chat`, within the transaction in which the caller brings the chat back."""
    back = Document.objects.of_chat(user_id, chat_id).filter(deleted_at__isnull=False)
    for pk in list(back.values_list("pk", flat=True)):
        # Meanwhile another embedder may have been chosen, and nobody made its vectors of what was deleted.
        DocumentVersion.objects.filter(document=pk, document__current=F("pk")).update(lacks_vectors=True)
        _announce(pk)
    back.update(deleted_at=None)


def count_deleted_with_chat(user: User, chat_id: UUID) -> int:
    """How many documents went with this chat of `user`, and would come back with it."""
    return Document.objects.of_chat(user.pk, chat_id).filter(deleted_at__isnull=False).count()


def retry_document(document: Document) -> Document:
    """Read the newest version again after it failed. Raises Conflict when it is ready, DocumentUnfinished before."""
    with transaction.atomic(durable=True):
        locked = found(Document.objects.visible_to(document.user).select_for_update(), pk=document.pk)
        version = _newest(locked)
        if version is None or not version.is_finished:
            raise DocumentUnfinished
        if version.status == DocumentVersion.Status.READY:
            raise Conflict("This document is ready; there is nothing to try again.")
        _have_read_again(version)
    locked.newest = [version]
    return locked


def _have_read_again(version: DocumentVersion) -> None:
    version.status, version.error_code, version.error_message = DocumentVersion.Status.PENDING, "", ""
    version.attempt = version.done = version.total = 0
    version.save(update_fields=["status", "error_code", "error_message", "attempt", "done", "total"])
    _announce(version.document_id)


def check_visible(user: User, documents: Collection[UUID]) -> None:
    """Raises NotFound when one of them is not `user`'s: foreign and missing look alike."""
    wanted = set(documents)
    if Document.objects.visible_to(user).filter(pk__in=wanted).count() != len(wanted):
        raise NotFound("One of these documents is not here, or is not yours.")


def used_by(user: User) -> tuple[int, int]:
    """How many documents `user` has, and how many bytes their versions take, with the text that was read of them."""
    mine = Document.objects.visible_to(user)
    taken = Sum(F("size") + Coalesce(F("characters"), 0))
    size = DocumentVersion.objects.filter(document__in=mine).aggregate(size=taken)["size"]
    return mine.count(), size or 0


def _mark_deleted(documents: QuerySet[Document], **changes: None) -> None:
    there = documents.filter(deleted_at__isnull=True)
    for pk in list(there.values_list("pk", flat=True)):
        _announce(pk)
    there.update(deleted_at=timezone.now(), **changes)


_REPLACED = {
    "error_code": "replaced",
    "error_message": "A newer version was uploaded before this one was read.",
}


def _clean(fields: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = dict(fields)
    if "name" in fields:
        # A file's name is its own: a path before it says where it was, on whichever system.
        line = check_line(str(fields["name"]).replace("\\", "/").rpartition("/")[2], field="name", max_length=1_000)
        cleaned["name"] = _shortened(line)
        if not any(sign.isprintable() and not sign.isspace() for sign in cleaned["name"]):
            raise Invalid(fields={"name": ["Give the document a name."]})
    if "space" in fields:
        cleaned["space"] = check_line(str(fields["space"]), field="space", max_length=SPACE_MAX_LENGTH)
    return cleaned


def _shortened(name: str) -> str:
    """`name`, cut in its middle where it is too long: its end tells what it is."""
    if len(name) <= NAME_MAX_LENGTH:
        return name
    return f"{name[: NAME_MAX_LENGTH - 21]}…{name[-20:]}"


def _digest_of(file: File) -> str:
    """The sha256 of a file that is neither empty nor too large. Raises Invalid, DocumentTooLarge."""
    if file.size > settings.UPLOAD_MAX_BYTES:
        limit = settings.UPLOAD_MAX_BYTES
        raise DocumentTooLarge(f"This file has {file.size:,} bytes; at most {limit:,} are allowed.")
    if not file.size:
        raise Invalid("This file is empty.", fields={"file": ["This file is empty."]})
    digest = hashlib.sha256()
    for part in file.chunks(READ_BYTES):
        digest.update(part)
    file.seek(0)
    return digest.hexdigest()


def _same_file(user: User, digest: str, *, space: str, chat: UUID | None) -> Document | None:
    """The document that has this file as its newest version, in the same place."""
    mine = Document.objects.visible_to(user).filter(space=space, chat=chat, versions__sha256=digest).with_newest()
    return next((document for document in mine if document.newest and document.newest[0].sha256 == digest), None)


@contextmanager
def _stored(document: Document, file: File, digest: str) -> Iterator[DocumentVersion]:
    """A version with its file put into the storage; whatever fails within takes the file away again."""
    version = DocumentVersion(document=document, number=1, size=file.size, sha256=digest)
    storage, name = version.file.storage, place_of_file(version, "")
    try:
        version.file.name = storage.save(name, file)
    except OSError as error:
        logger.warning("storage_failed", error=str(error))
        with suppress(OSError):
            storage.delete(name)  # what there is of it
        raise StorageFailed from error
    try:
        yield version
    except BaseException:
        version.file.delete(save=False)
        raise


def _lock(user: User) -> None:
    """One upload of a person at a time decides whether there is room."""
    User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()


def _check_quota(user: User, size: int, *, is_new: bool) -> None:
    count, used = used_by(user)
    if is_new and count >= settings.DOCUMENTS_PER_USER:
        raise QuotaExceeded(f"You have {count:,} documents, and no more are allowed. Delete some first.")
    if used + size > settings.DOCUMENT_BYTES_PER_USER:
        limit = settings.DOCUMENT_BYTES_PER_USER // 1_000_000
        raise QuotaExceeded(f"Your documents take {used / 1e6:,.1f} of {limit:,} MB; this one does not fit.")


def _is_kept(version: DocumentVersion) -> bool:
    """Whether the file of this version need not be sent again: it is there, and could be read or may yet be."""
    return version.status != DocumentVersion.Status.FAILED and version.file.storage.exists(str(version.file.name))


def _take_for(version: DocumentVersion, sent: DocumentVersion) -> None:
    """Put the file of `sent`, which is the same, in the place of one that is lost; what could not be read is read anew.

    Of the two files the one that is not needed goes.
    """
    unneeded = sent.file.name
    if not _is_kept(version):
        unneeded, version.file.name = version.file.name, sent.file.name
        version.save(update_fields=["file"])
        if version.status == DocumentVersion.Status.FAILED:
            _have_read_again(version)
    transaction.on_commit(partial(_delete_file, version.file.storage, str(unneeded)))


def _delete_file(storage: Storage, name: str) -> None:
    with suppress(OSError):
        storage.delete(name)


def _check_place(document: Document, space: str) -> None:
    newest = _newest(document)
    if space == document.space or newest is None:
        return
    same = _same_file(document.user, newest.sha256, space=space, chat=document.chat)
    if same is not None and same.pk != document.pk:
        raise Conflict(f"The same file is in that space already, as «{same.name}».")


def _append_version(document: Document, version: DocumentVersion) -> None:
    last = document.versions.aggregate(last=Max("number"))["last"] or 0
    version.document, version.number = document, last + 1
    # What is not read yet need not be: only the newest counts.
    waiting = document.versions.filter(status=DocumentVersion.Status.PENDING)
    waiting.update(status=DocumentVersion.Status.FAILED, **_REPLACED)
    _insert_version(version)
    Document.objects.filter(pk=document.pk).update(updated_at=timezone.now())


def _insert_version(version: DocumentVersion) -> None:
    version.save(force_insert=True)
    _announce(version.document_id)


def _newest(document: Document) -> DocumentVersion | None:
    return document.versions.order_by("-number").first()


def _announce(document_id: UUID) -> None:
    transaction.on_commit(partial(doorbell.ring, "document", document_id))
