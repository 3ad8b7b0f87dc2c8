"""The chat page, the list of chats, and what one does with a whole chat."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from accounts.queries import one_or_none
from chats.knowledge.services import count_deleted_with_chat
from chats.models import Chat
from chats.pages.composer import EXAMPLES, composer_for, parse_id, prefilled
from chats.pages.doors import PageRequest, page
from chats.pages.history import history_of
from chats.pages.sidebar import chat_list, row_of
from chats.pages.uploads import upload_context
from chats.services import delete_chat, restore_chat, update_chat

LIST_CHANGED = {"HX-Trigger": "chats-changed"}


def chat_of(user: User, chat_id: UUID) -> Chat:
    """This person's chat. Foreign, deleted and missing ones alike are Http404."""
    return get_object_or_404(Chat.objects.visible_to(user), pk=chat_id)


def show_chat(
    request: PageRequest, chat: Chat | None, *, before: UUID | None = None, status: int = 200, **written: str
) -> HttpResponse:
    """The page of `chat`, or of a new one. `written` is what the composer holds."""
    context = {
        "chat": chat,
        "origin": _origin_of(request.user, chat) if chat else None,
        "history": history_of(request.user, chat, before=before) if chat else None,
        "before": before,
        "composer": composer_for(request.user, chat, **written),
        "sidebar": chat_list(request.user),
        "current": chat.pk if chat else None,
        "examples": EXAMPLES,
        "max_bytes": settings.MESSAGE_MAX_BYTES,
        "upload": upload_context(),
        **_undo_of(request, parse_id(request.GET.get("deleted", ""))),
    }
    return render(request, "chats/chat.html", context, status=status)


@page
@require_safe
def home(request: PageRequest) -> HttpResponse:
    return show_chat(request, None, text=prefilled(request.GET.get("text", "")))


@page
@require_safe
def chat(request: PageRequest, chat_id: UUID) -> HttpResponse:
    found = chat_of(request.user, chat_id)
    before = parse_id(request.GET.get("before", ""))
    if request.htmx:
        context: dict[str, Any] = {"chat": found, "history": history_of(request.user, found, before=before)}
        return render(request, "chats/history.html", context)
    return show_chat(request, found, before=before)


@page
@require_safe
def chats(request: PageRequest) -> HttpResponse:
    """The list alone for a script; a page of its own for those without."""
    found = chat_list(request.user, words=request.GET.get("q", ""), before=request.GET.get("before", ""))
    if request.htmx:
        return render(request, "chats/list.html", {"sidebar": found, "current": _chat_in_view(request)})
    return render(request, "chats/chats.html", {"sidebar": found, "current": None})


@page
@require_http_methods(["GET", "HEAD", "POST"])
def rename(request: PageRequest, chat_id: UUID) -> HttpResponse:
    found = chat_of(request.user, chat_id)
    if request.method == "POST":
        found = update_chat(found, title=request.POST.get("title", ""))
        if not request.htmx:
            return redirect("pages:chat", chat_id=found.pk)
    context = {"row": row_of(request.user, found.pk) or found, "current": _chat_in_view(request)}
    if not request.htmx:
        return render(request, "chats/rename.html", context)
    is_editing = request.method != "POST" and "cancel" not in request.GET
    return render(request, "chats/row_edited.html" if is_editing else "chats/row.html", context)


@page
@require_POST
def pin(request: PageRequest, chat_id: UUID) -> HttpResponse:
    found = update_chat(chat_of(request.user, chat_id), pinned=request.POST.get("pinned") == "true")
    if request.htmx:
        return HttpResponse(status=204, headers=LIST_CHANGED)
    return redirect("pages:chat", chat_id=found.pk)


@page
@require_POST
def delete(request: PageRequest, chat_id: UUID) -> HttpResponse:
    found = chat_of(request.user, chat_id)
    delete_chat(found)
    without_it = f"{reverse('pages:home')}?deleted={found.pk}"
    if not request.htmx:
        return HttpResponseRedirect(without_it)
    if _chat_in_view(request) == found.pk:
        return HttpResponse(headers={"HX-Redirect": without_it})
    return render(request, "chats/deleted.html", _undo_of(request, found.pk))


@page
@require_POST
def restore(request: PageRequest, chat_id: UUID) -> HttpResponse:
    found = restore_chat(request.user, chat_id)
    if request.htmx:
        return HttpResponse(headers=LIST_CHANGED)
    return redirect("pages:chat", chat_id=found.pk)


def _undo_of(request: PageRequest, chat_id: UUID | None) -> dict[str, Any]:
    """What the offer to bring a chat back says: which one, and how many documents went with it."""
    return {"undo": chat_id, "undo_documents": count_deleted_with_chat(request.user, chat_id) if chat_id else 0}


def _origin_of(user: User, chat: Chat) -> Chat | None:
    """The chat this one was forked from, while it may be seen."""
    return one_or_none(Chat.objects.visible_to(user), pk=chat.forked_from_id) if chat.forked_from_id else None


def _chat_in_view(request: PageRequest) -> UUID | None:
    """The chat whose page a script asks from."""
    path = (request.htmx.current_url_abs_path or "").partition("?")[0]
    return parse_id(path.strip("/").rpartition("/")[2])
