"""Servers of tools (MCP): a person's own, which are added, looked at and removed here; and what each tool may do."""

from typing import Final
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.statuses import status_of
from chats.errors import DomainError, Invalid
from chats.pages.doors import PageRequest, page
from chats.pages.looking import check_room, look_and_go
from chats.pages.server_forms import ServerForm, form_of, form_sent
from chats.pages.servers import ShownTool, row_of, server_list, shown_server, shown_tool
from chats.tools import services
from chats.tools.discovery import accept_change
from chats.tools.errors import ServerChanged
from chats.tools.models import McpServer, Tool
from chats.tools.models.server import NAME_MAX_LENGTH, URL_MAX_LENGTH

OPERATORS: Final = "This server is the operator's, who has to look at it."


@page
@require_safe
def tools(request: PageRequest) -> HttpResponse:
    """All servers that this person sees."""
    return render(request, "tools/list.html", {"list": server_list(request.user)})


@page
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: PageRequest) -> HttpResponseBase:
    """A new server, and a first look at it."""
    form = form_sent(request.POST) if request.method == "POST" else ServerForm()
    if request.method == "POST":
        try:
            check_room(request)
            server = services.add_server(request.user, **form.values())
        except DomainError as error:
            return _refuse(request, form, error)
        return look_and_go(request, server.pk, to=_address(server))
    return _show_form(request, form)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, server_id: UUID) -> HttpResponseBase:
    """Its name, address, headers, and whether it is on. Where it is another server by then, a look at it."""
    server = _editable(request, server_id)
    if request.method != "POST":
        return _show_form(request, form_of(server), server)
    form = form_sent(request.POST, server)
    before = (server.url, services.masked_headers(server))
    try:
        check_room(request)
        values = form.values()
        services.update_server(server, **values)
    except DomainError as error:
        return _refuse(request, form, error, server)
    if before == (server.url, values["headers"]):
        return redirect(_address(server))
    return look_and_go(request, server.pk, to=_address(server))


@page
@require_safe
def server(request: PageRequest, server_id: UUID) -> HttpResponse:
    """One server and its tools; for a script only that part of the page."""
    return _show(request, server_id)


@page
@require_POST
def look(request: PageRequest, server_id: UUID) -> HttpResponseBase:
    """Does it answer, and what does it offer now? The page of the server says it."""
    check_room(request)
    found = _editable(request, server_id)
    services.count_change(request.user)
    return look_and_go(request, found.pk, to=_address(found))


@page
@require_POST
def switch(request: PageRequest, server_id: UUID) -> HttpResponse:
    """On or off."""
    services.update_server(_editable(request, server_id), enabled=request.POST.get("enabled") == "on")
    if request.htmx:
        # The page of the server asks for all of it, the list for a row.
        if request.htmx.target == "server":
            return _show(request, server_id)
        return render(request, "tools/row.html", {"server": row_of(request.user, server_id), "is_own": True})
    return redirect("pages:tools") if "from_list" in request.POST else redirect("pages:server", server_id=server_id)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: PageRequest, server_id: UUID) -> HttpResponse:
    """What goes with it, and then it goes."""
    found = _editable(request, server_id)
    if request.method != "POST":
        return render(request, "tools/delete.html", {"server": found})
    services.delete_server(found)
    messages.success(request, f"«{found.name}» is removed.")
    return redirect("pages:tools")


@page
@require_safe
def tool(request: PageRequest, tool_id: UUID) -> HttpResponse:
    """All that a server has said of one tool."""
    return render(request, "tools/tool_page.html", {"shown": _tool(request, tool_id)})


@page
@require_POST
def policy(request: PageRequest, tool_id: UUID) -> HttpResponse:
    """What a tool may do from now on."""
    found = _tool(request, tool_id)
    chosen = request.POST.get("policy", "")
    if chosen not in Tool.Policy.values:
        raise Invalid("Choose whether to allow it, to be asked, or to deny it.")
    services.set_policy(request.user, found.tool, chosen)
    if request.htmx:
        return render(request, "tools/tool.html", {"shown": _tool(request, tool_id)})
    return redirect(f"{_address(found.tool.server)}#tool-{tool_id}")


@page
@require_POST
def accept(request: PageRequest, tool_id: UUID) -> HttpResponse:
    """Take a tool as it is now, if it is still the one that was looked at."""
    found = _tool(request, tool_id)
    if not found.is_own:
        raise Invalid(OPERATORS)
    problem = ""
    try:
        accept_change(found.tool, seen=request.POST.get("seen", ""))
    except ServerChanged as error:
        problem = error.message
    if request.htmx:
        return _show(request, found.tool.server_id, problem=problem)
    if problem:
        messages.error(request, problem)
    return redirect(f"{_address(found.tool.server)}#tool-{tool_id}")


def _show(request: PageRequest, server_id: UUID, **more: str) -> HttpResponse:
    shown = shown_server(request.user, server_id)
    if shown is None:
        raise Http404
    name = "tools/server_inside.html" if request.htmx else "tools/server.html"
    return render(request, name, {"shown": shown, "server": shown.server, **more})


def _show_form(
    request: PageRequest, form: ServerForm, server: McpServer | None = None, *, status: int = 200
) -> HttpResponse:
    context = {"form": form, "server": server, "name_max": NAME_MAX_LENGTH, "url_max": URL_MAX_LENGTH}
    return render(request, "tools/form.html", context, status=status)


def _refuse(
    request: PageRequest, form: ServerForm, error: DomainError, server: McpServer | None = None
) -> HttpResponse:
    form.refuse(error)
    return _show_form(request, form, server, status=status_of(error))


def _editable(request: PageRequest, server_id: UUID) -> McpServer:
    return get_object_or_404(McpServer.objects.editable_by(request.user).select_related("user"), pk=server_id)


def _tool(request: PageRequest, tool_id: UUID) -> ShownTool:
    shown = shown_tool(request.user, tool_id)
    if shown is None:
        raise Http404
    return shown


def _address(found: McpServer) -> str:
    return reverse("pages:server", args=[found.pk])
