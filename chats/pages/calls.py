"""Calls of tools: what was asked and answered, how a step stands, and the word of a person on one that waits."""

from typing import Final
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.dateformat import format as format_date
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST, require_safe

from chats.errors import Conflict, Invalid
from chats.models import Message, Reply, ToolCall
from chats.pages.composer import parse_id
from chats.pages.doors import PageRequest, page
from chats.pages.history import entries_of, steps_of
from chats.pages.shown_calls import image_of, opened_call, shown_call, who_decided
from chats.replies.approvals import SCOPES, decide_call

DENY: Final = "deny"


@page
@require_safe
def tool_call(request: PageRequest, call_id: UUID) -> HttpResponse:
    """All there is of a call: what opens below its line, or for those without scripts a page."""
    name = "chats/call_body.html" if request.htmx else "chats/tool_call.html"
    return render(request, name, {"shown": opened_call(request.user, call_id)})


@page
@require_safe
def image(request: PageRequest, call_id: UUID, number: int) -> HttpResponse:
    """An image that a tool has answered. It is of this type, or it is not given out at all."""
    data, content_type = image_of(request.user, call_id, number)
    headers = {
        "Content-Disposition": "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(data, content_type=content_type, headers=headers)


@page
@require_safe
def calls(request: PageRequest, message_id: UUID) -> HttpResponse:
    """How the calls of a step stand: how a script keeps up with them."""
    found = get_object_or_404(Message.objects.visible_to(request.user).select_related("chat"), pk=message_id)
    entries = entries_of(request.user, [found.pk], leaf=found.chat.current_leaf_id)
    return render(request, "chats/calls.html", {"entry": next(iter(entries), None), "chat": found.chat})


@page
@require_safe
def steps(request: PageRequest, reply_id: UUID) -> HttpResponse:
    """What a reply has written from a step on: how a script gets an answer that has gone on, or is finished."""
    reply = get_object_or_404(Reply.objects.visible_to(request.user).select_related("chat"), pk=reply_id)
    ids = steps_of(request.user, reply, start=parse_id(request.GET.get("from", "")))
    entries = entries_of(request.user, ids, leaf=reply.chat.current_leaf_id)
    if not entries:
        raise Http404
    return render(request, "chats/messages.html", {"entries": entries, "chat": reply.chat})


@page
@require_POST
def decide(request: PageRequest, reply_id: UUID, call_id: UUID) -> HttpResponse:
    """Let a call run, once or for longer, or deny it. Whoever comes second learns what was decided first."""
    decision = request.POST.get("decision", "")
    if decision not in {*SCOPES, DENY}:
        raise Invalid("Choose whether to approve this call or to deny it.")
    reply = get_object_or_404(Reply.objects.editable_by(request.user), pk=reply_id)
    note = _decide(request, reply, call_id, decision)
    if request.htmx:
        return render(request, "chats/call.html", {"shown": shown_call(request.user, call_id), "note": note})
    if note:
        raise Conflict(note)
    return HttpResponseRedirect(f"{reverse('pages:chat', args=[reply.chat_id])}#call-{call_id}")


def _decide(request: PageRequest, reply: Reply, call_id: UUID, decision: str) -> str:
    """What to tell the person, if it went another way than they said."""
    is_approved = decision != DENY
    scope = decision if is_approved else "once"
    try:
        call = decide_call(
            request.user,
            reply,
            str(call_id),
            approved=is_approved,
            reason=request.POST.get("reason", ""),
            scope=scope,
        )
    except Conflict as error:
        return _what_was_first(request, call_id) or error.message
    wanted = SCOPES[scope] if is_approved else ToolCall.Decision.DENIED
    return "" if call.decision == wanted else _what_was_first(request, call_id)


def _what_was_first(request: PageRequest, call_id: UUID) -> str:
    calls = ToolCall.objects.visible_to(request.user).select_related("decided_by")
    call = get_object_or_404(calls, pk=call_id)
    if call.decided_at is None:
        return ""
    when = format_date(localtime(call.decided_at), "H:i")
    return f"{who_decided(call, request.user)} had decided already, at {when}: {call.get_decision_display()}."
