"""Files that pages send: one at a time from a script, which is told why it is refused; several from a form."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile

from chats.errors import DomainError, Invalid, TooMany
from chats.knowledge.models import Document
from chats.pages.doors import PageRequest
from chats.pages.library import ACCEPT

NO_FILE: Final = "Choose a file first, then upload it."

Add = Callable[[UploadedFile], tuple[Document, bool]]


def only_file(request: PageRequest) -> UploadedFile:
    """The one file that a script sends. Raises Invalid."""
    files = request.FILES.getlist("file")
    if len(files) != 1:
        raise Invalid(NO_FILE)
    return files[0]


def add_each(request: PageRequest, add: Add) -> None:
    """Add all files of a form, and say on the next page what became of them."""
    files = request.FILES.getlist("file")
    if not files:
        messages.error(request, NO_FILE)
    added = 0
    for sent in files:
        try:
            with saying_when():
                found, is_new = add(sent)
        except DomainError as error:
            messages.error(request, f"«{sent.name}» was not uploaded. {error.message}")
        else:
            added += is_new
            if not is_new:
                messages.info(request, f"«{sent.name}» is already here, as «{found.name}».")
    if added:
        messages.success(request, "The file is uploaded." if added == 1 else f"{added} files are uploaded.")


@contextmanager
def saying_when() -> Iterator[None]:
    """Whoever uploaded too much is told how long to wait, and not only by a header."""
    try:
        yield
    except TooMany as error:
        minutes = -(-error.retry_after_seconds // 60)
        raise TooMany(
            f"You may upload {settings.UPLOADS_PER_HOUR:,} files an hour. Try this one again in "
            f"{minutes} minute{'' if minutes == 1 else 's'}.",
            retry_after_seconds=error.retry_after_seconds,
        ) from None


def upload_context() -> dict[str, object]:
    return {"accept": ACCEPT, "max_bytes": settings.UPLOAD_MAX_BYTES}
