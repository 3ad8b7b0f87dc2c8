"""Files that a person adds to one chat: documents of its own, which its answers use from then on."""

from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.db import transaction
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.queries import found
from chats.catalog.services import usable_model
from chats.errors import NotFound
from chats.knowledge.models import Document
from chats.knowledge.services import add_document, delete_document
from chats.models import Chat
from chats.services import announce, insert_chat, lock_chat_of, write_fields


def add_to_chat(user: User, chat_id: UUID, file: File) -> tuple[Document, bool]:
    """Store `file` as a document of this chat alone, and have its answers use documents; as `add_document` answers.

    Where the chat's answers use chosen documents only, it is one of them. Raises as `add_document`, and NotFound.
    """
    found(Chat.objects.editable_by(user), pk=chat_id)
    document, is_new = add_document(user, file, chat=chat_id)
    try:
        with transaction.atomic(durable=True):
            _use(lock_chat_of(user, chat_id), document)
    except NotFound:
        # The chat was deleted while the file was stored, and no search would ever find it.
        delete_document(document)
        raise
    return document, is_new


def begin_with_file(user: User, file: File, *, model: str | None = None) -> tuple[Chat, Document]:
    """A new chat with `file` as a document of its own. Raises as `add_document`, and ModelUnavailable.

    What is refused leaves no chat behind: the document comes first, and names a chat that is about to be.
    """
    chosen, chat_id = (usable_model(user, model) if model else None), uuid7()
    document, _ = add_document(user, file, chat=chat_id)
    with transaction.atomic(durable=True):
        chat = insert_chat(user, pk=chat_id, model=chosen)
        _use(chat, document)
    return chat, document


def _use(chat: Chat, document: Document) -> None:
    use = {"limit": settings.PASSAGES_DEFAULT, "documents": [], **(chat.retrieval or {})}
    chosen, added = use["documents"], str(document.pk)
    if chosen and added not in chosen:
        use["documents"] = [*chosen, added]
    write_fields(chat, {"retrieval": use})
    announce(chat)
