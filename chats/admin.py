"""Conversations as staff may look at them: who, when and how much. What was said is on a row's own page only."""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

import chats.desk
import chats.tool_desk  # noqa: F401 - and a look at a server is of rooms above that of tools
from accounts.columns import moment
from chats.catalog.desk import ReadOnlyAdmin
from chats.models import Chat, Message, Reply, ToolCall
from chats.tools.comparing import show_unseen

SHOWN_MAX_CHARACTERS = 20_000


class ConversationAdmin(ReadOnlyAdmin):
    """Found by ids and by whose it is, never by what was said."""

    id_fields: tuple[str, ...] = ("id", "chat_id")
    owner_field = "chat__user__email"
    name_fields: tuple[str, ...] = ()
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
            words = (self.owner_field, *self.name_fields)
            wanted = Q(*((f"{name}__icontains", search_term) for name in words), _connector=Q.OR)
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


@admin.register(ToolCall)
class ToolCallAdmin(ConversationAdmin):
    """The audit: who let which tool do what."""

    list_display = [moment("created_at"), "owner", "called", "server_name", "status", "decided"]
    list_filter = ["status", "decision", "is_read_only", "created_at"]
    list_select_related = ["reply__user", "decided_by"]
    search_help_text = (
        "The whole id of a chat, reply or call; or a part of a tool's or server's name, or of an email address."
    )
    id_fields = ("id", "reply_id", "reply__chat_id")
    owner_field = "reply__user__email"
    name_fields = ("name", "title", "server_name", "decided_by__email")
    readonly_fields = [
        *("id", "created_at", "owner", "in_chat", "reply", "called", "title", "server_name", "is_read_only"),
        *("status", "because", "decision", "decided_by", "decided_at", "reason"),
        *("started_at", "finished_at", "asked", "answered"),
    ]

    def get_fields(self, request: HttpRequest, obj: ToolCall | None = None) -> Any:
        return self.readonly_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[ToolCall]:
        return super().get_queryset(request).defer("arguments", "output")

    @admin.display(ordering="reply__user__email")
    def owner(self, call: ToolCall) -> str:
        return call.reply.user.email

    @admin.display(description="chat")
    def in_chat(self, call: ToolCall) -> str:
        return self.chat_link(call.reply)

    @admin.display(description="tool", ordering="name")
    def called(self, call: ToolCall) -> str:
        return show_unseen(call.name)

    @admin.display(description="decision", ordering="decision")
    def decided(self, call: ToolCall) -> str:
        said = [call.get_decision_display()]
        if call.decided_by:
            said.append("by its owner" if call.decided_by == call.reply.user else f"by {call.decided_by.email}")
        if call.reason:
            said.append(f"«{show_unseen(call.reason)}»")
        return " ".join(said).strip() or "-"

    @admin.display(description="arguments")
    def asked(self, call: ToolCall) -> str:
        return format_html('<pre class="told">{}</pre>', _shown(call.arguments))

    @admin.display(description="answer")
    def answered(self, call: ToolCall) -> str:
        parts = call.output.get("parts") or []
        texts = [str(part.get("text") or part.get("uri") or f"[{part.get('type')}]") for part in parts]
        if not texts and call.result_message is not None:
            # It came to nothing: what the model and its person read of that.
            texts = [call.result_message.content]
        return format_html('<pre class="told">{}</pre>', _shown("\n\n".join(texts)))


def _shown(text: str) -> str:
    """Text of others, up to a length that a page can take."""
    cut = "\n… cut here" if len(text) > SHOWN_MAX_CHARACTERS else ""
    return show_unseen(text[:SHOWN_MAX_CHARACTERS]) + cut or "-"


# A job only brings a reply to a worker, and is gone when it has: nothing here for staff to look at, or to change.
if apps.is_installed("procrastinate.contrib.django"):
    admin.site.unregister(apps.get_app_config("procrastinate").get_model("ProcrastinateJob"))
