"""The address of the server of tools: who asks, what he asks within limits, and then to the package that speaks MCP."""

import importlib
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import Principal
from chats.bodies import json_object
from chats.errors import Invalid
from chats.mcp_api import calls
from chats.mcp_api.bridge import SESSION_HEADER, Exchange, Speaker
from chats.mcp_api.doors import check_origin, come_in
from chats.mcp_api.errors import EXPECTED, common_headers, method_not_allowed, refusal
from chats.replies.connections import CONNECTIONS

SESSION_MAX_CHARACTERS = 100


@csrf_exempt  # no cookie lets anybody in here
def endpoint(request: HttpRequest) -> HttpResponseBase:
    """One message of a client, and what answers it."""
    try:
        check_origin(request)
        principal = come_in(request)
        if request.method != "POST":
            return method_not_allowed()
        return _answer(request, principal)
    except EXPECTED as error:
        return refusal(error)


def _answer(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    if request.content_type != "application/json":
        raise Invalid("Send the message as application/json.")
    message = json_object(request.body)
    if not isinstance(message.get("method"), str):
        raise Invalid("This is no request and no notification of JSON-RPC. Send one at a time.")
    session = request.headers.get(SESSION_HEADER, "")[:SESSION_MAX_CHARACTERS]
    if "id" not in message:
        _hear(principal, session, message)
        return HttpResponse(status=202, headers=common_headers())
    CONNECTIONS.check_room(principal.user.pk)
    call = calls.Call(principal, session, message["id"])
    return Exchange(call, message, speaker=_speaker()).response(request)


def _hear(principal: Principal, session: str, notification: dict[str, Any]) -> None:
    """Of what clients only tell, one thing matters to a server that remembers nothing of them."""
    params = notification.get("params")
    if notification["method"] == "notifications/cancelled" and isinstance(params, dict):
        calls.cancel(principal, session, params.get("requestId"))


@cache
def _speaker() -> Speaker:
    """What speaks MCP. Loading it takes half a second, and 30 MB; views run on threads, so nobody else waits for it."""
    speaker: Speaker = importlib.import_module("chats.mcp_api.server").speak
    return speaker
