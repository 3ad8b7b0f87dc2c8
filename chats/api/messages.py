"""/api/v1/messages/ and /api/v1/chats/{id}/messages/: what was said. Posting to a chat asks its model, by default."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.queries import found
from chats import branches, services
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, choice_parameter, flag_parameter, id_parameter, person, with_model
from chats.api.documentation import CLIENT_ID_HELP, MODEL_HELP, PAGING, STARTED
from chats.api.pagination import page_of
from chats.api.streams import check_room, event_stream, wants_stream
from chats.errors import Invalid
from chats.models import Chat, Message
from chats.models.message import MessageQuerySet
from chats.replies.present import MESSAGE_FIELDS, message_json, message_json_of, reply_json
from chats.replies.retrieval import DocumentUse
from chats.replies.services import StartedReply, start_reply


class MessageForm(serializers.Serializer[Any]):
    role = f.Role()
    content = f.Text(allow_blank=True)
    tool_calls = f.Objects(required=False)
    tool_results = f.Objects(required=False)
    sources = f.Objects(required=False)
    extra_data = serializers.DictField(required=False, help_text="Yours to fill, 16 kB at most.")
    model = f.Text(required=False, allow_null=True, help_text="The model that wrote it, if one did.")


class MessageChangeForm(MessageForm):
    """The role may be left out, and so may everything but the content."""

    role = f.Role(required=False)


class ImportForm(MessageForm):
    chat = f.Id()
    parent = f.Id(  # type: ignore[assignment]  # see shapes
        required=False, allow_null=True, help_text="Left out: the end of the current branch."
    )


class SendForm(MessageForm):
    role = f.Role(default="user", help_text="Other than user only with `reply: false`.")
    parent = f.Id(  # type: ignore[assignment]  # see shapes
        required=False, allow_null=True, help_text="Only with `reply: false`."
    )
    model = f.Text(required=False, allow_null=True, help_text=MODEL_HELP)
    client_id = f.ClientId(help_text=f"{CLIENT_ID_HELP} Not for `reply: false`.")
    use_rag = f.UseRag()
    limit = f.Limit()
    documents = f.DocumentIds()
    reply = f.Flag(default=True, help_text="false only stores the message; no model is asked.")


class ChatMessageResource(Resource):
    @extend_schema(
        operation_id="chats_messages_list",
        parameters=[
            OpenApiParameter(
                "branch",
                str,
                enum=["current"],
                description="`current`: only those from the first to the chat's current leaf, with `sibling_ids`.",
            ),
            *PAGING,
        ],
        responses=shapes.MessageList,
    )
    def list(self, request: Request, chat_id: UUID) -> Response:
        """The messages of a chat, all branches, oldest first."""
        if choice_parameter(request, "branch", ["current"]) is None:
            return _messages_of(request, chat_id)
        chat = found(Chat.objects.visible_to(person(request)), pk=chat_id)
        messages = Message.objects.visible_to(person(request))
        return Response(page_of(request, _Branch(messages, chat.current_leaf_id), partial(_with_siblings, messages)))

    @extend_schema(
        operation_id="chats_messages_send",
        request=SendForm,
        responses=STARTED,
        examples=[OpenApiExample("A question", value={"content": "What is a leap second?"}, request_only=True)],
    )
    def create(self, request: Request, chat_id: UUID) -> Response | StreamingHttpResponse:
        """Say something and start the answer to it.

        201 as soon as both are stored; 200 when the same `client_id` was sent before. Follow the reply at
        `/api/v1/replies/{id}/events/`, or send `Accept: text/event-stream` and get its events here; the header
        Location then names the reply.
        """
        said = checked(SendForm, request)
        use = document_use(said)
        for name in ("use_rag", "limit", "documents"):
            said.pop(name, None)
        if not said.pop("reply"):
            said.pop("client_id", None)
            chat = found(Chat.objects.editable_by(person(request)), pk=chat_id)
            message = _append(person(request), chat, said)
            return Response({"message": message_json_of(message), "reply": None}, status=201)
        _check_sendable(said)
        asked: dict[str, Any] = {name: said.get(name) for name in ("content", "model", "client_id")}
        return started_answer(
            request, lambda: start_reply(person(request), chat_id=chat_id, use_documents=use, **asked)
        )


class MessageResource(Resource):
    @extend_schema(
        operation_id="messages_list",
        parameters=[OpenApiParameter("chat", UUID, required=True, description="Whose messages."), *PAGING],
        responses=shapes.MessageList,
    )
    def list(self, request: Request) -> Response:
        """The messages of the chat named by `?chat=`, all branches, oldest first."""
        return _messages_of(request, id_parameter(request, "chat"))

    @extend_schema(request=ImportForm, responses={201: shapes.Message})
    def create(self, request: Request) -> Response:
        """Add to the history of a chat without asking a model."""
        said = checked(ImportForm, request)
        chat = found(Chat.objects.editable_by(person(request)), pk=said.pop("chat"))
        return Response(message_json_of(_append(person(request), chat, said)), status=201)

    @extend_schema(responses=shapes.Message)
    def retrieve(self, request: Request, message_id: UUID) -> Response:
        """One message."""
        return Response(message_json_of(found(Message.objects.visible_to(person(request)), pk=message_id)))

    @extend_schema(request=MessageChangeForm, responses=shapes.Message)
    def update(self, request: Request, message_id: UUID) -> Response:
        """Change a message in place; refused with 409 while its reply is running. PUT needs the content."""
        return self._change(request, message_id, partial=False)

    @extend_schema(request=MessageChangeForm, responses=shapes.Message)
    def partial_update(self, request: Request, message_id: UUID) -> Response:
        """Change some fields of a message in place; refused with 409 while its reply is running."""
        return self._change(request, message_id, partial=True)

    @extend_schema(
        parameters=[OpenApiParameter("branch", bool, description="true: with all that follows it.")],
        responses={204: None},
    )
    def destroy(self, request: Request, message_id: UUID) -> Response:
        """Delete a message. What followed it moves up, or goes with it; a reply that writes or answers it ends."""
        delete = branches.delete_branch if flag_parameter(request, "branch") else services.delete_message
        delete(found(Message.objects.editable_by(person(request)), pk=message_id))
        return Response(status=204)

    def _change(self, request: Request, message_id: UUID, *, partial: bool) -> Response:
        message = found(Message.objects.editable_by(person(request)), pk=message_id)
        changes = with_model(person(request), checked(MessageChangeForm, request, partial=partial))
        return Response(message_json_of(services.change_message(message, **changes)))


def document_use(said: Mapping[str, Any]) -> DocumentUse | None:
    """How the answer is to use documents; None when it is not said, and the chat's way holds."""
    if "use_rag" not in said:
        return None
    return DocumentUse(said["use_rag"], limit=said.get("limit"), documents=said.get("documents", []))


def started_answer(request: Request, start: Callable[[], StartedReply]) -> Response | StreamingHttpResponse:
    """What `start` makes, the message and its reply: 201, or 200 when this was a repetition.

    For who accepts them, the events of the reply instead.
    """
    if wants_stream(request):
        check_room(request)
        return event_stream(request, start().reply.pk)
    started = start()
    body = {"message": message_json_of(started.message), "reply": reply_json(started.reply)}
    return Response(body, status=201 if started.created else 200)


def page_of_messages(request: Request, chat: Chat, *, path: str = "") -> dict[str, Any]:
    """A page of the messages of a chat, all branches, oldest first. `path`: where further pages are, if not here."""
    rows = Message.objects.visible_to(person(request)).filter(chat=chat)
    return page_of(request, rows.values(*MESSAGE_FIELDS), _messages_json, path=path)


class _Branch:
    """The messages from the root down to `leaf`, fetched by the slice."""

    def __init__(self, messages: MessageQuerySet, leaf: UUID | None) -> None:
        self._messages, self._leaf = messages, leaf

    def __getitem__(self, window: slice) -> Sequence[Message]:
        return self._messages.path_to(self._leaf, start=window.start, stop=window.stop)


def _with_siblings(messages: MessageQuerySet, path: Sequence[Message]) -> list[dict[str, Any]]:
    siblings = messages.sibling_ids(path)
    return [message_json_of(message) | {"sibling_ids": siblings[message.parent_id]} for message in path]


def _messages_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [message_json(row) for row in rows]


def _messages_of(request: Request, chat_id: UUID) -> Response:
    chat = found(Chat.objects.visible_to(person(request)), pk=chat_id)
    return Response(page_of_messages(request, chat))


def _append(user: User, chat: Chat, said: Mapping[str, Any]) -> Message:
    fields = with_model(user, said)
    parent_id = fields.pop("parent", None)
    parent = found(Message.objects.visible_to(user), pk=parent_id) if parent_id else None
    return services.append_message(chat, parent=parent, **fields)


def _check_sendable(said: Mapping[str, Any]) -> None:
    if said["role"] != Message.Role.USER:
        raise Invalid(fields={"role": ["A model answers only what a user says. Send `reply: false` to store this."]})
    if said.get("parent"):
        raise Invalid(fields={"parent": ["An answer continues the current branch. Send `reply: false` to store this."]})
