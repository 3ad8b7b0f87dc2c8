"""/api/v1/messages/{id}/edit/, /answer/, /regenerate/ and /fork/: other ways to go on. What is there stays."""

from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.queries import found
from chats import branches, cleaning
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person
from chats.api.chats import chat_json
from chats.api.documentation import AGAIN_HELP, CLIENT_ID_HELP, MODEL_HELP, STARTED
from chats.api.messages import started_answer
from chats.models import Message
from chats.replies.services import answer_message, edit_message, regenerate_message


class EditForm(serializers.Serializer[Any]):
    content = f.Text()
    model = f.Text(required=False, allow_null=True, help_text=MODEL_HELP)
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class AnswerForm(serializers.Serializer[Any]):
    model = f.Text(required=False, allow_null=True, help_text=MODEL_HELP)
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class AgainForm(serializers.Serializer[Any]):
    model = f.Text(required=False, allow_null=True, help_text=AGAIN_HELP)
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class ForkForm(serializers.Serializer[Any]):
    title = f.Text(
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=cleaning.TITLE_MAX_LENGTH,
        help_text="Left out: the same.",
    )
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class BranchResource(Resource):
    @extend_schema(
        request=EditForm,
        responses=STARTED,
        examples=[OpenApiExample("A better question", value={"content": "And in UTC?"}, request_only=True)],
    )
    def edit(self, request: Request, message_id: UUID) -> Response | StreamingHttpResponse:
        """Say it differently: a new message beside this one of yours, and the answer to it. Both branches stay.

        To correct a message in place, without a new answer, use PATCH. The answer comes as with a new message.
        """
        message = found(Message.objects.editable_by(person(request)), pk=message_id)
        asked = checked(EditForm, request)
        return started_answer(request, lambda: edit_message(person(request), message, **asked))

    @extend_schema(request=AnswerForm, responses=STARTED)
    def answer(self, request: Request, message_id: UUID) -> Response | StreamingHttpResponse:
        """Answer this message of yours as it stands: it was stored without an answer, or that was deleted."""
        message = found(Message.objects.editable_by(person(request)), pk=message_id)
        asked = checked(AnswerForm, request)
        return started_answer(request, lambda: answer_message(person(request), message, **asked))

    @extend_schema(request=AgainForm, responses=STARTED)
    def regenerate(self, request: Request, message_id: UUID) -> Response | StreamingHttpResponse:
        """Answer again what this answer was for, beside it; also when a program has written it."""
        message = found(Message.objects.editable_by(person(request)), pk=message_id)
        asked = checked(AgainForm, request)
        return started_answer(request, lambda: regenerate_message(person(request), message, **asked))

    @extend_schema(request=ForkForm, responses={201: shapes.Chat, 200: shapes.Chat})
    def fork(self, request: Request, message_id: UUID) -> Response:
        """A new chat with copies of the messages down to this one. The chat stays as it is.

        Refused with 409 while one of them is being written.
        """
        message = found(Message.objects.editable_by(person(request)), pk=message_id)
        chat, is_new = branches.fork_chat(person(request), message, **checked(ForkForm, request))
        return Response(chat_json(chat), status=201 if is_new else 200)
