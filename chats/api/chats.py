"""/api/v1/chats/: the conversations of the person who asks."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.queries import found
from chats import cleaning, services
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, flag_parameter, person, text_parameter, with_model
from chats.api.documentation import CLIENT_ID_HELP, PAGING
from chats.api.messages import page_of_messages
from chats.api.pagination import page_of
from chats.models import Chat
from chats.tool_use import SERVERS_MAX

CHAT_FIELDS = (
    "id",
    "title",
    "space",
    "notebooks",
    "system_prompt",
    "model",
    "extra_data",
    "retrieval",
    "tools",
    "pinned",
    "archived",
    "current_leaf",
    "forked_from",
    "created_at",
    "updated_at",
)
REFERENCES = {"model", "current_leaf", "forked_from"}
FILTERS = [
    OpenApiParameter("space", str, description="Only chats of this space."),
    OpenApiParameter("tag", str, description="Only chats with this tag."),
    OpenApiParameter("q", str, description="Only chats whose title has these words."),
    OpenApiParameter("archived", bool, description="Only archived chats, or only the others."),
    OpenApiParameter("pinned", bool, description="Only pinned chats, or only the others."),
]
EXAMPLE = OpenApiExample(
    "A chat of a project",
    value={"title": "Release notes", "space": "work", "tags": ["draft"], "notebooks": ["roadmap"]},
    request_only=True,
)


class ToolUseForm(serializers.Serializer[Any]):
    servers = serializers.ListField(
        child=f.Id(), max_length=SERVERS_MAX, help_text="Only tools of these; empty: none at all."
    )


class ChatForm(serializers.Serializer[Any]):
    """Every field may be left out, and then keeps its value or default; null stands for the default."""

    title = f.Text(required=False, allow_blank=True, allow_null=True, max_length=cleaning.TITLE_MAX_LENGTH)
    space = f.Text(required=False, allow_blank=True, allow_null=True, max_length=cleaning.SPACE_MAX_LENGTH)
    tags = serializers.ListField(
        child=f.Text(max_length=cleaning.TAG_MAX_LENGTH), required=False, allow_null=True, max_length=cleaning.TAGS_MAX
    )
    notebooks = serializers.ListField(
        child=f.Text(max_length=cleaning.NOTEBOOK_MAX_LENGTH),
        required=False,
        allow_null=True,
        max_length=cleaning.NOTEBOOKS_MAX,
    )
    system_prompt = f.Text(required=False, allow_blank=True, allow_null=True)
    model = f.Text(required=False, allow_null=True, help_text="Id, name, or the provider's id of a model you may use.")
    tools = ToolUseForm(
        required=False, allow_null=True, help_text="Whose tools its answers may use; null: those of all your servers."
    )
    extra_data = serializers.DictField(required=False, allow_null=True, help_text="Yours to fill, 16 kB at most.")
    pinned = f.Flag(required=False)
    archived = f.Flag(required=False)


class ChatChangeForm(ChatForm):
    current_leaf = f.Id(
        required=False,
        help_text="A message to go to: the chat shows its branch, down to the end last seen there, or else the newest.",
    )


class NewChatForm(ChatForm):
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


EMPTY = {"title": "", "space": "", "tags": [], "notebooks": [], "system_prompt": "", "extra_data": {}}


class ChatResource(Resource):
    @extend_schema(operation_id="chats_list", parameters=[*FILTERS, *PAGING], responses=shapes.ChatList)
    def list(self, request: Request) -> Response:
        """Your chats, the one with the newest message first."""
        return Response(page_of(request, _filtered(request).values(*CHAT_FIELDS), chats_json))

    @extend_schema(request=NewChatForm, responses={201: shapes.Chat, 200: shapes.Chat}, examples=[EXAMPLE])
    def create(self, request: Request) -> Response:
        """Make a chat. To ask something at the same time, see `POST /api/v1/chat/`.

        200 when the same `client_id` has made it before.
        """
        chat, is_new = services.create_chat_once(person(request), **_written(request, NewChatForm))
        return Response(chat_json(chat), status=201 if is_new else 200)

    @extend_schema(parameters=PAGING, responses=shapes.ChatDetail)
    def retrieve(self, request: Request, chat_id: UUID) -> Response:
        """One chat with the first page of its messages."""
        chat = found(Chat.objects.visible_to(person(request)), pk=chat_id)
        messages = page_of_messages(request, chat, path=reverse("api:chats-messages", args=[chat_id]))
        return Response({**chat_json(chat), "messages": messages})

    @extend_schema(request=ChatChangeForm, responses=shapes.Chat, examples=[EXAMPLE])
    def update(self, request: Request, chat_id: UUID) -> Response:
        """Change a chat. Fields that are left out keep their value, as with PATCH."""
        return self.partial_update(request, chat_id)

    @extend_schema(request=ChatChangeForm, responses=shapes.Chat, examples=[EXAMPLE])
    def partial_update(self, request: Request, chat_id: UUID) -> Response:
        """Change some fields of a chat."""
        chat = found(Chat.objects.editable_by(person(request)), pk=chat_id)
        return Response(chat_json(services.update_chat(chat, **_written(request, ChatChangeForm))))

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, chat_id: UUID) -> Response:
        """Delete a chat with the documents that are its alone, and end its running replies.

        It can be restored for an hour, or as long as the operator set.
        """
        services.delete_chat(found(Chat.objects.editable_by(person(request)), pk=chat_id))
        return Response(status=204)

    @extend_schema(request=None, responses=shapes.Chat)
    def restore(self, request: Request, chat_id: UUID) -> Response:
        """Bring a deleted chat back, with the documents that went with it."""
        return Response(chat_json(services.restore_chat(person(request), chat_id)))


def chat_json(chat: Chat) -> dict[str, Any]:
    """One chat, just written or read."""
    row = {name: getattr(chat, f"{name}_id" if name in REFERENCES else name) for name in CHAT_FIELDS}
    return row | {"tags": services.tags_of([chat.pk])[chat.pk]}


def chats_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `.values(*CHAT_FIELDS)` with their tags, fetched together."""
    tags = services.tags_of([row["id"] for row in rows])
    return [{**row, "tags": tags[row["id"]]} for row in rows]


def _filtered(request: Request) -> QuerySet[Chat]:
    rows = Chat.objects.visible_to(person(request))
    if space := text_parameter(request, "space"):
        rows = rows.filter(space=space)
    if tag := text_parameter(request, "tag"):
        rows = rows.tagged(tag)
    if words := text_parameter(request, "q"):
        rows = rows.matching(words)
    flags = {name: flag_parameter(request, name) for name in ("archived", "pinned")}
    return rows.filter(**{name: value for name, value in flags.items() if value is not None})


def _written(request: Request, form: type[ChatForm]) -> dict[str, Any]:
    """The fields to write. Raises a validation error, or ModelUnavailable."""
    given = with_model(person(request), checked(form, request))
    return {name: EMPTY[name] if value is None and name in EMPTY else value for name, value in given.items()}
