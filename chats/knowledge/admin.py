"""Documents as staff may look at them: whose, how large, and why one could not be read. Never what stands in them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from accounts.columns import moment
from chats.catalog.desk import ReadOnlyAdmin
from chats.knowledge.models import Document, DocumentVersion


@admin.register(DocumentVersion)
class DocumentVersionAdmin(ReadOnlyAdmin):
    """One row an upload: a document has one for each time that its file was replaced."""

    list_display = [moment("created_at"), "owner", "status", "kind", "bytes", "pages", "chunk_count", "error_code"]
    list_filter = ["status", "kind", "error_code", "lacks_vectors", "created_at"]
    list_select_related = ["document__user"]
    search_fields = ["document__user__email"]
    fields = [
        "id",
        "document",
        "owner",
        "number",
        "status",
        "error_code",
        "error_message",
        "kind",
        "bytes",
        "pages",
        "characters",
        "chunk_count",
        "lacks_vectors",
        "attempt",
        "created_at",
        "indexed_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DocumentVersion]:
        return super().get_queryset(request).select_related("document__user")

    @admin.display
    def owner(self, version: DocumentVersion) -> str:
        return version.document.user.email

    @admin.display(description="size", ordering="size")
    def bytes(self, version: DocumentVersion) -> str:
        return filesizeformat(version.size)


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    list_display = [moment("created_at"), "user", "space", "is_of_a_chat", "newest_status", moment("deleted_at")]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["user"]
    search_fields = ["user__email"]
    fields = ["id", "user", "name", "space", "chat", "current", "created_at", "updated_at", "deleted_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        return Document.objects.with_newest().select_related("user").order_by(*self.get_ordering(request))

    @admin.display(boolean=True, description="of one chat")
    def is_of_a_chat(self, document: Document) -> bool:
        return document.chat is not None

    @admin.display(description="status")
    def newest_status(self, document: Document) -> str:
        return document.newest[0].status if document.newest else "-"
