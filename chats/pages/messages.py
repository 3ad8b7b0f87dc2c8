"""What one does with messages: send, have answered, retry, stop, and look at one alone."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.statuses import status_of
from chats.errors import DomainError
from chats.models import Message, Reply
from chats.pages.chats import chat_of, show_chat
from chats.pages.composer import parse_id
from chats.pages.doors import PageRequest, page
from chats.pages.history import entries_of
from chats.replies.retrieval import DocumentUse
from chats.replies.services import (
    StartedReply,
    answer_message,
    regenerate_message,
    retry_reply,
    start_reply,
    stop_reply,
)
from chats.tool_use import ToolUse


@page
@require_POST
def send(request: PageRequest, chat_id: UUID | None = None) -> HttpResponse:
    """Take a message and start its answer, in a new chat when none is named. A refusal leaves the text in the box."""
    # Forms send line ends as CR LF, whatever was typed.
    text = request.POST.get("content", "").replace("\r\n", "\n")
    model, client_id = request.POST.get("model", ""), request.POST.get("client_id") or None
    try:
        started = start_reply(
            request.user,
            content=text,
            chat_id=chat_id,
            model=model or None,
            use_documents=_document_use(request),
            use_tools=_tool_use(request),
            client_id=client_id,
        )
    except DomainError as error:
        if request.htmx:
            raise
        chat = chat_of(request.user, chat_id) if chat_id else None
        return show_chat(request, chat, status=status_of(error), text=text, model=model, error=error.message)
    return _show_started(request, started, [started.message.pk, started.answer.pk])


def _document_use(request: PageRequest) -> DocumentUse | None:
    """What the composer says of documents; one that has no such switch leaves the chat's way as it is."""
    if "says_documents" not in request.POST:
        return None
    documents = [pk for text in request.POST.getlist("documents") if (pk := parse_id(text))]
    return DocumentUse("use_rag" in request.POST, documents=documents)


def _tool_use(request: PageRequest) -> ToolUse | None:
    """What the composer says of tools. All that it offered means all, whatever is added later."""
    offered = {pk for text in request.POST.getlist("tools_offered") if (pk := parse_id(text))}
    if not offered:
        return None
    chosen = [pk for text in request.POST.getlist("tools") if (pk := parse_id(text))]
    return ToolUse(None if offered <= set(chosen) else chosen)


@page
@require_POST
def answer(request: PageRequest, message_id: UUID) -> HttpResponse:
    """Answer a question that has no answer, or give an answer again that this server has no reply of."""
    found = get_object_or_404(Message.objects.editable_by(request.user).select_related("chat"), pk=message_id)
    model, client_id = request.POST.get("model", ""), request.POST.get("client_id", "")
    is_question = found.role == Message.Role.USER
    verb = answer_message if is_question else regenerate_message
    started = verb(request.user, found, model=model or None, client_id=client_id or None)
    return _show_started(request, started, [*([found.pk] if is_question else []), started.answer.pk])


@page
@require_POST
def retry(request: PageRequest, reply_id: UUID) -> HttpResponse:
    reply = get_object_or_404(Reply.objects.editable_by(request.user).select_related("chat", "user"), pk=reply_id)
    model, client_id = request.POST.get("model", ""), request.POST.get("client_id", "")
    started = retry_reply(reply, model=model or None, client_id=client_id or None)
    return _show_started(request, started, [started.answer.pk])


@page
@require_POST
def stop(request: PageRequest, reply_id: UUID) -> HttpResponse:
    reply = get_object_or_404(Reply.objects.editable_by(request.user), pk=reply_id)
    stop_reply(reply)
    return HttpResponse(status=204) if request.htmx else redirect("pages:chat", chat_id=reply.chat_id)


@page
@require_safe
def message(request: PageRequest, message_id: UUID) -> HttpResponse:
    """One message as the chat page shows it: how a script gets an answer that is finished."""
    found = get_object_or_404(Message.objects.visible_to(request.user).select_related("chat"), pk=message_id)
    entries = entries_of(request.user, [found.pk], leaf=found.chat.current_leaf_id)
    if not entries:
        # The result of a call, which stands with its step.
        raise Http404
    return render(request, "chats/message.html", {"entry": entries[0], "chat": found.chat})


@page
@require_safe
def text(request: PageRequest, message_id: UUID) -> HttpResponse:
    """The text of a message as the model wrote it, to copy."""
    found = get_object_or_404(Message.objects.visible_to(request.user), pk=message_id)
    return HttpResponse(found.content, content_type="text/plain; charset=utf-8")


def _show_started(request: PageRequest, started: StartedReply, ids: list[UUID]) -> HttpResponse:
    chat = started.chat
    if not request.htmx:
        return redirect("pages:chat", chat_id=chat.pk)
    entries = entries_of(request.user, ids, leaf=started.answer.pk)
    response = render(request, "chats/messages.html", {"entries": entries, "chat": chat})
    response.headers["HX-Push-Url"] = reverse("pages:chat", args=[chat.pk])
    return response
