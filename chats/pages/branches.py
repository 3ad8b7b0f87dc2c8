"""What one does with branches: go to one, say it differently, have it answered again, continue, fork, delete.

Each ends at the message it is about, in place for a script, else on the chat's page.
"""

from typing import Final
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from accounts.statuses import status_of
from chats.branches import delete_branch, fork_chat
from chats.errors import DomainError
from chats.models import Chat, Message, Reply
from chats.pages import markdown
from chats.pages.chats import chat_of
from chats.pages.composer import composer_for
from chats.pages.doors import PageRequest, page
from chats.pages.history import history_of, page_holding
from chats.replies.services import continue_reply, edit_message, regenerate_message
from chats.services import update_chat

EXCERPT_CHARACTERS: Final = 200


@page
@require_POST
def show(request: PageRequest, message_id: UUID) -> HttpResponse:
    """Go to this message's branch."""
    found = _message_of(request, message_id)
    update_chat(found.chat, current_leaf=found.pk)
    return _show_at(request, found.chat_id, found.pk)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, message_id: UUID) -> HttpResponse:
    """A box with what was said, and what is said instead. A refusal leaves the text in the box."""
    found = _message_of(request, message_id)
    context = {"message": found, "chat": found.chat, "text": found.content, "error": ""}
    status = 200
    if request.method == "POST":
        # Forms send line ends as CR LF, whatever was typed.
        text = request.POST.get("content", "").replace("\r\n", "\n")
        try:
            started = edit_message(request.user, found, content=text, client_id=request.POST.get("client_id") or None)
        except DomainError as error:
            if request.htmx:
                raise
            context |= {"text": text, "error": error.message}
            status = status_of(error)
        else:
            return _show_at(request, started.chat.pk, started.answer.pk)
    return render(request, "chats/edit_inline.html" if request.htmx else "chats/edit.html", context, status=status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def again(request: PageRequest, message_id: UUID) -> HttpResponse:
    """Which model is to answer again, and its answer."""
    found = _message_of(request, message_id)
    if request.method == "POST":
        model, client_id = request.POST.get("model", ""), request.POST.get("client_id", "")
        started = regenerate_message(request.user, found, model=model or None, client_id=client_id or None)
        return _show_at(request, started.chat.pk, started.answer.pk)
    wanted = str(found.model_id or "")
    context = {"message": found, "chat": found.chat, "composer": composer_for(request.user, found.chat, model=wanted)}
    return render(request, "chats/again_form.html" if request.htmx else "chats/again.html", context)


@page
@require_POST
def go_on(request: PageRequest, reply_id: UUID) -> HttpResponse:
    """Continue an answer that broke off."""
    reply = get_object_or_404(Reply.objects.editable_by(request.user).select_related("chat", "user"), pk=reply_id)
    started = continue_reply(reply, client_id=request.POST.get("client_id") or None)
    return _show_at(request, started.chat.pk, started.answer.pk)


@page
@require_POST
def fork(request: PageRequest, message_id: UUID) -> HttpResponse:
    """A chat of its own with everything down to this message."""
    found = _message_of(request, message_id)
    chat, _ = fork_chat(request.user, found, client_id=request.POST.get("client_id") or None)
    address = reverse("pages:chat", args=[chat.pk])
    return HttpResponse(headers={"HX-Redirect": address}) if request.htmx else redirect(address)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: PageRequest, message_id: UUID) -> HttpResponse:
    """What would go with this message, and then it goes."""
    found = _message_of(request, message_id)
    if request.method == "POST":
        delete_branch(found)
        return _show_at(request, found.chat_id, found.parent_id)
    messages = Message.objects.visible_to(request.user)
    below = len(messages.tree(found.chat).branch(found.pk)) - 1
    path = messages.path_ids(found.chat.current_leaf_id) if found.chat.current_leaf_id else []
    in_view = len(path) - path.index(found.pk) - 1 if found.pk in path else 0
    is_model = found.role == Message.Role.ASSISTANT
    context = {
        "message": found,
        "chat": found.chat,
        "below": below,
        "has_versions_below": below > in_view,
        "excerpt": markdown.excerpt(found.content, length=EXCERPT_CHARACTERS) if is_model else found.content,
    }
    return render(request, "chats/delete_branch_form.html" if request.htmx else "chats/delete_branch.html", context)


def _message_of(request: PageRequest, message_id: UUID) -> Message:
    return get_object_or_404(Message.objects.editable_by(request.user).select_related("chat"), pk=message_id)


def _show_at(request: PageRequest, chat_id: UUID, message_id: UUID | None) -> HttpResponse:
    """The branch in view, with this message in sight."""
    chat = chat_of(request.user, chat_id)
    before = page_holding(request.user, chat, message_id) if message_id else None
    place = _address(chat, message_id, before)
    if not request.htmx:
        return redirect(place)
    if before or "before=" in (request.htmx.current_url or ""):
        return HttpResponse(headers={"HX-Redirect": place})
    return render(request, "chats/history.html", {"chat": chat, "history": history_of(request.user, chat)})


def _address(chat: Chat, message_id: UUID | None, before: UUID | None) -> str:
    query = f"?before={before}" if before else ""
    anchor = f"#message-{message_id}" if message_id else ""
    return f"{reverse('pages:chat', args=[chat.pk])}{query}{anchor}"
