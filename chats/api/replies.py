"""/api/v1/replies/ and /api/v1/chat/: answers of models, live and finished."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.queries import found
from chats import cleaning
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person
from chats.api.branches import AgainForm
from chats.api.documentation import CLIENT_ID_HELP, EVENTS, MODEL_HELP, STARTED
from chats.api.messages import document_use, started_answer
from chats.api.pagination import as_number, number_parameter
from chats.api.streams import answer_when_finished, check_room, event_stream, wants_stream
from chats.models import Reply, ToolCall
from chats.replies.approvals import REASON_MAX_CHARACTERS, SCOPES, decide_call
from chats.replies.present import call_json, reply_json
from chats.replies.services import continue_reply, retry_reply, start_reply, stop_reply

SEQ_MAX = 2**53


class ContinueForm(serializers.Serializer[Any]):
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class ApprovalForm(serializers.Serializer[Any]):
    call = f.Text(max_length=256, help_text="`call` of the event, or the model's own `tool_call_id`.")
    approved = f.Flag()
    reason = f.Text(required=False, allow_blank=True, max_length=REASON_MAX_CHARACTERS, help_text="For the model.")
    scope = serializers.ChoiceField(
        choices=list(SCOPES), required=False, help_text="This once, in this chat from now on, or always."
    )


class AskForm(serializers.Serializer[Any]):
    message = f.Text()
    chat = f.Id(required=False, allow_null=True, help_text="Left out: a new chat is made.")
    space = f.Text(required=False, max_length=cleaning.SPACE_MAX_LENGTH, help_text="Of the new chat.")
    model = f.Text(required=False, allow_null=True, help_text=MODEL_HELP)
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)
    use_rag = f.UseRag()
    limit = f.Limit()
    documents = f.DocumentIds()
    stream = f.Flag(default=False, help_text="true: the events of the reply instead of one answer at its end.")


class ReplyResource(Resource):
    @extend_schema(request=ApprovalForm, responses=shapes.Call)
    def approve(self, request: Request, reply_id: UUID) -> Response:
        """Let a call that waits run, or deny it. The reply goes on by itself; a denial tells the model why.

        The same decision again changes nothing.
        """
        sent = checked(ApprovalForm, request)
        reply = found(Reply.objects.editable_by(person(request)), pk=reply_id)
        return Response(call_json(decide_call(person(request), reply, **sent)))

    @extend_schema(responses=shapes.CallOutput)
    def call(self, request: Request, reply_id: UUID, call_id: UUID) -> Response:
        """One call of a tool with all that it answered, images in base64."""
        call = found(ToolCall.objects.visible_to(person(request)), pk=call_id, reply=reply_id)
        return Response(call_json(call) | {"output": call.output})

    @extend_schema(responses=shapes.Reply)
    def retrieve(self, request: Request, reply_id: UUID) -> Response:
        """One reply: how it stands, what it used and cost."""
        return Response(reply_json(found(Reply.objects.visible_to(person(request)), pk=reply_id)))

    @extend_schema(
        parameters=[
            OpenApiParameter("after", int, description="Only events with a greater number."),
            OpenApiParameter(
                "Last-Event-ID", int, OpenApiParameter.HEADER, description="The same, as browsers say it."
            ),
        ],
        responses={**EVENTS, 204: OpenApiResponse(description="Nothing more will come: an EventSource ends here.")},
    )
    def events(self, request: Request, reply_id: UUID) -> HttpResponseBase:
        """The events of a reply as Server-Sent Events, from any point, live until `reply.finished`.

        A reader behind the live log gets `reply.snapshot` first: its text replaces what he has. Whoever has seen the
        end gets 204.
        """
        after = number_parameter(request, "after", default=0, lowest=0, highest=SEQ_MAX)
        if last := request.headers.get("Last-Event-ID"):
            after = as_number(last, "Last-Event-ID", lowest=0, highest=SEQ_MAX)
        reply = found(Reply.objects.visible_to(person(request)), pk=reply_id)
        if reply.is_finished and after == reply.finished_seq:
            # A browser's EventSource connects again after every end but this one.
            return HttpResponse(status=204)
        check_room(request)
        return event_stream(request, reply.pk, after=after)

    @extend_schema(request=None, responses=shapes.Reply)
    def stop(self, request: Request, reply_id: UUID) -> Response:
        """Stop a reply. Its text so far is kept; stopping twice, or after the end, changes nothing."""
        reply = found(Reply.objects.editable_by(person(request)), pk=reply_id)
        return Response(reply_json(stop_reply(reply)))

    @extend_schema(request=AgainForm, responses=STARTED)
    def retry(self, request: Request, reply_id: UUID) -> Response | StreamingHttpResponse:
        """Answer the same message again, beside the earlier answer."""
        reply = found(Reply.objects.editable_by(person(request)).select_related("user", "chat"), pk=reply_id)
        asked = checked(AgainForm, request)
        return started_answer(request, lambda: retry_reply(reply, **asked))

    @extend_schema(request=ContinueForm, responses=STARTED)
    def go_on(self, request: Request, reply_id: UUID) -> Response | StreamingHttpResponse:
        """Continue an answer that was stopped, interrupted or incomplete, in a new message that begins with its text.

        The unfinished one stays beside it. 409 when it is whole, still being written, or has no text.
        """
        reply = found(Reply.objects.editable_by(person(request)).select_related("user", "chat"), pk=reply_id)
        asked = checked(ContinueForm, request)
        return started_answer(request, lambda: continue_reply(reply, **asked))


class AskResource(Resource):
    @extend_schema(
        operation_id="chat_ask",
        request=AskForm,
        responses={200: shapes.Answered, 202: shapes.Answered, **EVENTS},
        examples=[OpenApiExample("A question", value={"message": "What is GraphRAG?"}, request_only=True)],
    )
    def create(self, request: Request) -> StreamingHttpResponse:
        """Ask in one call: makes a chat if none is named, waits for the answer and gives both.

        The answer of a reply that failed or was stopped is also 200: look at `reply.status` and `reply.error`. 202 says
        how it stands when the server has to restart before it is over: `queued` or `running`, and it goes on. Send the
        same again with the same `client_id` to wait on, or follow the reply, which the header Location names.
        """
        asked = checked(AskForm, request)
        check_room(request)
        chat_id = asked.get("chat")
        started = start_reply(
            person(request),
            content=asked["message"],
            chat_id=chat_id,
            model=asked.get("model"),
            client_id=asked.get("client_id"),
            use_documents=document_use(asked),
            **({"space": asked["space"]} if "space" in asked and chat_id is None else {}),
        )
        if asked["stream"] or wants_stream(request):
            return event_stream(request, started.reply.pk)
        return answer_when_finished(request, started.reply.pk)
