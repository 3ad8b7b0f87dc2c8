"""The files of one chat: its own list, and what its box shows of them. A new chat begins with its first file."""

from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from chats.attaching import add_to_chat, begin_with_file
from chats.knowledge.models import Document
from chats.pages.chats import chat_of
from chats.pages.composer import documents_for
from chats.pages.documents import show_row
from chats.pages.doors import PageRequest, page
from chats.pages.library import document_list, room_of
from chats.pages.uploads import add_each, only_file, saying_when, upload_context


@page
@require_http_methods(["GET", "HEAD", "POST"])
def chat_documents(request: PageRequest, chat_id: UUID) -> HttpResponse:
    """The list, and for the box of the chat how its files are. Posted to: an upload."""
    chat = chat_of(request.user, chat_id)

    def add(sent: UploadedFile) -> tuple[Document, bool]:
        return add_to_chat(request.user, chat.pk, sent)

    if request.method == "POST":
        if not request.htmx:
            add_each(request, add)
            return redirect("pages:chat_documents", chat_id=chat.pk)
        with saying_when():
            found, is_new = add(only_file(request))
        return show_row(request, found.pk, status=201 if is_new else 200)
    if request.htmx and "composer" in request.GET:
        context = {"chat": chat, "documents": documents_for(request.user, chat), "upload": upload_context()}
        return render(request, "chats/attachments.html", context)
    before = request.GET.get("before", "")
    context = {"chat": chat, "list": document_list(request.user, chat=chat, before=before), "before": before}
    context["list_url"] = reverse("pages:chat_documents", args=[chat.pk])
    if request.htmx:
        return render(request, "documents/rows.html", context)
    context |= {"room": room_of(request.user), "is_still": "still" in request.GET, **upload_context()}
    return render(request, "documents/chat.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new_chat_documents(request: PageRequest) -> HttpResponse:
    """A form for the first files of a chat that is not there yet. Posted to: the chat, with what could be stored."""
    made: list[UUID] = []

    def add(sent: UploadedFile) -> tuple[Document, bool]:
        if made:
            return add_to_chat(request.user, made[0], sent)
        chat, document = begin_with_file(request.user, sent, model=request.POST.get("model"))
        made.append(chat.pk)
        return document, True

    if request.method == "POST" and request.htmx:
        with saying_when():
            add(only_file(request))
        return HttpResponse(status=201, headers={"HX-Push-Url": reverse("pages:chat", args=made)})
    if request.method == "POST":
        add_each(request, add)
        return redirect("pages:chat_documents", chat_id=made[0]) if made else redirect("pages:new_chat_documents")
    # It comes back to a page of another address: what a script would make of a list has no place here.
    context = {"list_url": reverse("pages:new_chat_documents"), "is_plain": True, "room": room_of(request.user)}
    context |= upload_context()
    return render(request, "documents/chat.html", context)
