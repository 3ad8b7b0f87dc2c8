"""Conversations as staff may look at them: who, when and how much. What was said is on a row's own page only."""

from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

import chats.desk  # noqa: F401 - registers itself: choosing one is of rooms above that of documents
from accounts.columns import moment
from chats.catalog.desk import ReadOnlyAdmin
from chats.models import Chat, Message, Reply


class ConversationAdmin(ReadOnlyAdmin):
    """Found by ids and by whose it is, never by what was said."""

    id_fields: tuple[str, ...] = ("id", "chat_id")
    owner_field = "chat__user__email"
    search_fields = ["id"]  # only shows the box; get_search_results says what is searched
    search_help_text = "The whole id of a chat or of the row, or a part of its owner's email address."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        if not search_term:
            return queryset, False
        try:
            wanted = Q(*((name, UUID(search_term)) for name in self.id_fields), _connector=Q.OR)
        except ValueError:
            wanted = Q((f"{self.owner_field}__icontains", search_term))
        return queryset.filter(wanted), False

    @admin.display(description="chat", ordering="chat_id")
    def chat_link(self, row: Message | Reply) -> str:
        # The last digits are the ones that differ between chats of the same moment.
        url = reverse("admin:chats_chat_change", args=[row.chat_id])
        return format_html('<a href="{}" title="{}">…{}</a>', url, row.chat_id, str(row.chat_id)[-12:])


@admin.register(Chat)
class ChatAdmin(ConversationAdmin):
    list_display = [
        moment("created_at"),
        "user",
        "space",
        "model",
        "archived",
        moment("updated_at"),
        moment("deleted_at"),
    ]
    list_filter = ["archived", ("deleted_at", admin.EmptyFieldListFilter), "created_at", "model"]
    list_select_related = ["user", "model"]
    id_fields = ("id",)
    owner_field = "user__email"


@admin.register(Message)
class MessageAdmin(ConversationAdmin):
    list_display = [moment("created_at"), "role", "owner", "chat_link", "characters", "model"]
    list_filter = ["role", "is_imported", "created_at", "model"]
    list_select_related = ["chat__user", "model"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        texts = ("content", "reasoning", "tool_calls", "tool_results", "sources", "attachments", "extra_data")
        return super().get_queryset(request).annotate(characters=Length("content")).defer(*texts)

    @admin.display(description="length", ordering="characters")
    def characters(self, message: Message) -> int:
        return message.characters  # type: ignore[attr-defined]  # annotated above

    @admin.display
    def owner(self, message: Message) -> str:
        return message.chat.user.email


@admin.register(Reply)
class ReplyAdmin(ConversationAdmin):
    list_display = [moment("created_at"), "status", "user", "chat_link", "model", "error_code", moment("finished_at")]
    list_filter = ["status", "error_code", "created_at", "model"]
    list_select_related = ["user", "model"]
    owner_field = "user__email"


# A job only brings a reply to a worker, and is gone when it has: nothing here for staff to look at, or to change.
if apps.is_installed("procrastinate.contrib.django"):
    admin.site.unregister(apps.get_app_config("procrastinate").get_model("ProcrastinateJob"))
