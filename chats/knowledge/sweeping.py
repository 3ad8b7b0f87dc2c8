"""Files that no row names: left when a person's rows were deleted, or when a server died between a file and its row.

Rows go with their person by the database's cascade, which knows nothing of files, and then nobody can say what they
were. So the storage is looked through, and what is in it but in no row is taken away.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.files.storage import Storage
from django.utils import timezone

from chats.knowledge.models import DocumentVersion

ROOT = "documents"
# An upload is stored before its row, by so much at most.
YOUNG = timedelta(hours=1)
NAMES_AT_ONCE = 200


@dataclass(frozen=True)
class Swept:
    """How many files were looked at, how many no row names, and whether these were deleted."""

    files: int
    unnamed: int
    is_done: bool


def sweep_files(*, share_max: float = 1) -> Swept:
    """Delete the files of documents that no row names, but for those of the last hour. Raises what the storage does.

    If more than `share_max` of all files were to go, none does: then this is more likely another database than theirs.
    """
    storage: Storage = DocumentVersion._meta.get_field("file").storage
    before = timezone.now() - YOUNG
    files, unnamed = 0, []
    for names in _stored(storage):
        files += len(names)
        known = set(DocumentVersion.objects.filter(file__in=names).values_list("file", flat=True))
        unnamed += [name for name in names if name not in known and _is_older(storage, name, before)]
    is_done = len(unnamed) <= share_max * files
    if is_done:
        for name in unnamed:
            storage.delete(name)
    return Swept(files, len(unnamed), is_done)


def _stored(storage: Storage) -> Iterator[list[str]]:
    """What is in the storage, some at a time."""
    for folder in _listed(storage, ROOT)[0]:
        path = f"{ROOT}/{folder}"
        names = [f"{path}/{name}" for name in _listed(storage, path)[1]]
        for start in range(0, len(names), NAMES_AT_ONCE):
            yield names[start : start + NAMES_AT_ONCE]


def _listed(storage: Storage, path: str) -> tuple[list[str], list[str]]:
    # Nothing was ever uploaded, or somebody else takes away what is empty.
    with suppress(FileNotFoundError):
        return storage.listdir(path)
    return [], []


def _is_older(storage: Storage, name: str, before: datetime) -> bool:
    with suppress(FileNotFoundError):
        return storage.get_modified_time(name) < before
    return False
