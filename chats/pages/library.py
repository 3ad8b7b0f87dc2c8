"""A person's documents as their pages show them: in words, newest first, a page at a time, and the room they take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from accounts.models import User
from accounts.queries import one_or_none
from chats.knowledge.models import Document, DocumentVersion
from chats.knowledge.services import used_by
from chats.models import Chat
from chats.pages.places import parse_place, place_of

PAGE_SIZE: Final = 30
SPACES_SHOWN: Final = 100
OWN_SHOWN: Final = 6
# What a file dialog offers first; what a file is, is told from its content.
ACCEPT: Final = (
    ".pdf,.docx,.md,.markdown,.txt,.html,.htm,.csv,.tsv,.json,.xml,.yaml,.yml,.toml,.py,.js,.ts,.java,.c,.h,.cpp,.cs,"
    ".go,.rs,.rb,.php,.sh,.sql,.css,text/*"
)
KIND_NAMES: Final = {
    "pdf": "PDF",
    "docx": "Word",
    "markdown": "Markdown",
    "md": "Markdown",
    "text": "Text",
    "txt": "Text",
    "html": "HTML",
    "htm": "HTML",
    "csv": "CSV",
    "code": "Code",
}
# Their lines and columns say something.
FIXED_WIDTH: Final = {"csv", "code"}


@dataclass(frozen=True)
class Shown:
    """One version of a document, most often the newest. `chat` is the only one that uses it, while it is there."""

    document: Document
    version: DocumentVersion
    chat: Chat | None = None

    @property
    def kind(self) -> str:
        """What it is: told from its content, or before that from its name."""
        kind = self.version.kind or PurePosixPath(self.document.name).suffix.removeprefix(".").lower()
        return KIND_NAMES.get(kind, kind.upper() if kind.isalnum() and len(kind) <= 5 else "File")

    @property
    def is_fixed_width(self) -> bool:
        return self.version.kind in FIXED_WIDTH

    @property
    def step(self) -> str:
        """How far the reading of it is: pages of a PDF, then parts of the text, then nothing known."""
        version = self.version
        if not version.total:
            return "Reading"
        done = min(version.done, version.total)
        if version.kind:
            return f"Preparing for search, part {done:,} of {version.total:,}"
        return f"Reading, {'page ' if self.kind == 'PDF' else ''}{done:,} of {version.total:,}"

    @property
    def has_earlier(self) -> bool:
        """Whether an earlier version is searched in the meantime."""
        return self.document.current_id not in {None, self.version.pk}


@dataclass(frozen=True)
class DocumentList:
    """`before` asks for the next page; empty at the end."""

    rows: list[Shown]
    before: str

    @property
    def is_unfinished(self) -> bool:
        return any(not row.version.is_finished for row in self.rows)


@dataclass(frozen=True)
class Room:
    """How much of what a person may have is taken. Sizes in bytes."""

    count: int
    size: int
    count_max: int
    size_max: int


def document_list(user: User, *, chat: Chat | None = None, before: str = "") -> DocumentList:
    """One page of `user`'s documents, or of those that are `chat`'s alone, newest first. `before` continues a list."""
    documents = Document.objects.visible_to(user)
    if chat is not None:
        documents = documents.of_chat(user.pk, chat.pk)
    if place := parse_place(before):
        moment, pk = place
        documents = documents.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=pk), created_at__lte=moment)
    found = list(documents.with_newest()[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    last = shown[-1] if len(found) > len(shown) else None
    return DocumentList(_shown(user, shown), place_of(last.created_at, last.pk) if last else "")


def shown_by_id(user: User, ids: Iterable[UUID]) -> dict[UUID, Shown]:
    """Those of `ids` that are still there."""
    documents = Document.objects.visible_to(user).filter(pk__in=ids).with_newest()
    return {shown.document.pk: shown for shown in _shown(user, list(documents))}


def newest_shown(user: User, document_id: UUID) -> Shown | None:
    """One document as the list shows it."""
    document = one_or_none(Document.objects.visible_to(user).select_related("current").with_newest(), pk=document_id)
    return next(iter(_shown(user, [document])), None) if document else None


def own_of_chat(user: User, chat: Chat) -> tuple[list[Shown], int]:
    """The newest documents that are `chat`'s alone, in the order they came, and how many there are in all."""
    own = Document.objects.visible_to(user).of_chat(user.pk, chat.pk)
    newest = list(own.with_newest()[: OWN_SHOWN + 1])
    count = len(newest) if len(newest) <= OWN_SHOWN else own.count()
    return [
        Shown(document, document.newest[0], chat) for document in reversed(newest[:OWN_SHOWN]) if document.newest
    ], count


def spaces_of(user: User) -> list[str]:
    """The spaces that `user`'s chats and documents are in, by name."""
    of_chats = Chat.objects.visible_to(user).order_by().values_list("space", flat=True).distinct()
    of_documents = Document.objects.visible_to(user).order_by().values_list("space", flat=True).distinct()
    return sorted({*of_chats[:SPACES_SHOWN], *of_documents[:SPACES_SHOWN]} - {""})[:SPACES_SHOWN]


def room_of(user: User) -> Room:
    count, size = used_by(user)
    return Room(count, size, settings.DOCUMENTS_PER_USER, settings.DOCUMENT_BYTES_PER_USER)


def _shown(user: User, documents: Sequence[Document]) -> list[Shown]:
    """The newest version of each."""
    wanted = {document.chat for document in documents if document.chat}
    chats = Chat.objects.visible_to(user).only("id", "title").in_bulk(wanted) if wanted else {}
    return [Shown(document, document.newest[0], chats.get(document.chat)) for document in documents if document.newest]
