"""The pages between a person and a server that wants them to sign in: there, back, and out again."""

from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.errors import DomainError
from accounts.models import User
from accounts.statuses import status_of
from chats.pages.doors import PageRequest, page
from chats.pages.waiting import Make, page_after
from chats.replies.connections import CONNECTIONS
from chats.replies.database import in_database
from chats.replies.servers import look
from chats.tools.errors import SignInFailed
from chats.tools.models import McpServer
from chats.tools.oauth import flow, rows
from chats.tools.oauth.values import Pending
from chats.tools.services import count_change

CODE_MAX_LENGTH: Final = 8_000


@page
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: PageRequest, server_id: UUID) -> HttpResponseBase:
    """Asks first. Posted to: finds out where one signs in, and shows that before anybody goes there."""
    server = _visible(request, server_id)
    if request.method != "POST":
        return render(request, "tools/sign_in.html", {"server": server})
    entered = flow.Entered(request.POST.get("client_id", "").strip(), request.POST.get("client_secret", "").strip())
    entered.check()
    CONNECTIONS.check_room(request.user.pk)
    count_change(request.user)
    user_id, nonce = request.user.pk, flow.nonce_of(request.session)
    redirect_uri = flow.callback_url(request.build_absolute_uri("/"))

    async def work() -> Make:
        sent = await flow.begin(
            in_database, server.pk, user_id, nonce=nonce, redirect_uri=redirect_uri, entered=entered
        )
        return partial(render, request, "tools/sign_in_go.html", {"server": server, "sent": sent})

    return page_after(request, work, on_error=partial(_failed, request, server_id))


@never_cache
@require_GET
def sign_in_callback(request: HttpRequest) -> HttpResponseBase:
    """Where a browser comes back to, with a code or without.

    Who is not signed in here is not sent to do so first: the code would travel on in the address.
    """
    response = _come_back(request)
    # Nor may what the page loads, or leads to, be told of it.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _come_back(request: HttpRequest) -> HttpResponseBase:
    given, server_id = request.GET, None
    try:
        if not isinstance(request.user, User):
            raise SignInFailed(rows.NOT_BEGUN)
        nonce = request.session.get(flow.NONCE, "")
        server_id, pending = rows.take_pending(request.user.pk, state=given.get("state", ""), nonce=nonce)
        code = given.get("code", "")
        flow.check_return(
            pending,
            code=code if len(code) <= CODE_MAX_LENGTH else "",
            error=given.get("error", ""),
            iss=given.get("iss"),
        )
    except DomainError as error:
        return _failed(request, server_id, error)
    return _exchanged(request, request.user, server_id, pending, code)


@page
@require_POST
def sign_out(request: PageRequest, server_id: UUID) -> HttpResponseBase:
    server = _visible(request, server_id)
    grant, trusted_host = rows.forget(server.pk, request.user.pk)
    if grant is None or not grant.issuer.revocation_endpoint:
        return redirect(page_of(server_id))

    async def work() -> Make:
        await flow.revoke(grant, trusted_host=trusted_host)
        return partial(HttpResponseRedirect, page_of(server_id))

    return page_after(request, work, on_error=partial(_failed, request, server_id))


def page_of(server_id: UUID) -> str:
    """Where the page of a server is."""
    return reverse("pages:server", args=[server_id])


def _exchanged(request: HttpRequest, user: User, server_id: UUID, pending: Pending, code: str) -> HttpResponseBase:
    async def work() -> Make:
        await flow.finish(in_database, server_id, user.pk, pending, code)
        # What it offers, and whether it takes the token, its page shows.
        await look(server_id, seconds=settings.MCP_CONNECT_SECONDS, user_id=user.pk)
        return partial(HttpResponseRedirect, page_of(server_id))

    return page_after(request, work, on_error=partial(_failed, request, server_id))


def _failed(request: HttpRequest, server_id: UUID | None, error: DomainError) -> HttpResponse:
    context = {"error": error, "server_page": page_of(server_id) if server_id else None}
    return render(request, "tools/sign_in_failed.html", context, status=status_of(error))


def _visible(request: PageRequest, server_id: UUID) -> McpServer:
    servers = McpServer.objects.visible_to(request.user).with_sign_in_of(request.user)
    return get_object_or_404(servers.filter(transport=McpServer.Transport.HTTP), pk=server_id)
