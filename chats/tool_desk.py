"""The desk where staff set up servers of tools, and decide what their tools may do.

People's own servers are listed, so that one can be switched off; what is private about them is not shown.
"""

from datetime import datetime
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Field, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from chats.catalog.desk import PoliteAdmin
from chats.errors import DomainError, TooMany
from chats.pages.doors import PageRequest
from chats.pages.looking import check_room, look_and_go
from chats.tools.comparing import show_unseen, shown_differences
from chats.tools.discovery import accept_change, mark_of, pretty
from chats.tools.forms import McpServerForm
from chats.tools.models import McpServer, Tool
from chats.tools.models.server import McpServerQuerySet
from chats.tools.services import delete_server, endpoint_of, save_shared_server

PROGRAM = ["command", "arguments", "environment", "environment_stored", "clear_environment"]
HTTP = ["url", "headers", "headers_stored", "clear_headers"]
STORED = {"headers_stored", "clear_headers", "environment_stored", "clear_environment"}
SECRETS = {"headers", "clear_headers", "environment", "clear_environment"}
STDIO = "A program on this server (stdio)"
LOOKS_MAX = 20  # of one action
HOW_IT_IS = ["state", "problem", "says", "left_out", "checked_at"]
PRIVATE = frozenset(["url", "headers", "command", "arguments", "environment", "error_message"])
STDIO_HELP = (
    "Parley starts the program for each answer that uses it, as the user that it runs as itself. There is no shell: "
    "the arguments are a JSON list of texts, for example [&quot;--root&quot;, &quot;/srv/files&quot;], and nothing in "
    "them is expanded. Only superusers set this."
)
OWN_HELP = "This server is a person's own. Switched off here, it is off until that person switches it on again."


class WhoseFilter(admin.SimpleListFilter):
    title, parameter_name = "whose", "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("operator", "the operator's"), ("people", "people's own")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> QuerySet[McpServer]:
        if self.value() is None:
            return queryset
        return queryset.filter(user__isnull=self.value() == "operator")


@admin.register(McpServer)
class McpServerAdmin(PoliteAdmin):
    form = McpServerForm
    list_display = ["name", "whose", "where", "state", "tool_count", "enabled"]
    list_filter = [WhoseFilter, "transport", "status", "enabled"]
    list_select_related = ["user"]
    search_fields = ["name", "user__email"]
    ordering = ["-id"]
    filter_horizontal = ["groups"]
    actions = ["look_at"]
    change_form_template = "admin/tools/mcpserver/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[McpServer]:
        return cast(McpServerQuerySet, super().get_queryset(request)).with_counts().without_secrets()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Whoever may ask whether an address begins with something can find out all of it.
        return lookup.split("__", maxsplit=1)[0] not in PRIVATE and super().lookup_allowed(lookup, value, request)

    # ------------------------------------------------------------ columns
    @admin.display(ordering="user__email")
    def whose(self, server: McpServer) -> str:
        return server.user.email if server.user else "operator"

    @admin.display(ordering="transport")
    def where(self, server: McpServer) -> str:
        if server.is_builtin:
            return "built in"
        return f"program {server.command}" if server.transport == McpServer.Transport.STDIO else server.host

    @admin.display(ordering="status")
    def state(self, server: McpServer) -> str:
        said = "ready" if server.is_builtin else server.get_status_display()
        return f"{said}, {server.suspended_count} changed" if server.suspended_count else said

    @admin.display(description="tools", ordering="tool_count")
    def tool_count(self, server: McpServer) -> int:
        return server.tool_count

    @admin.display(description="what went wrong")
    def problem(self, server: McpServer) -> str:
        return server.error_message or "-"

    @admin.display(description="what it says of itself")
    def says(self, server: McpServer) -> str:
        said = (show_unseen(str(server.about.get(key, ""))) for key in ("name", "version", "protocol"))
        return ", ".join(text for text in said if text) or "-"

    @admin.display(description="what was left out")
    def left_out(self, server: McpServer) -> str:
        return show_unseen(" ".join(str(notice) for notice in server.notices)) or "-"

    @admin.display(description="stored headers")
    def headers_stored(self, server: McpServer) -> str:
        return _names(server, "headers", endpoint_of(server).headers)

    @admin.display(description="stored variables")
    def environment_stored(self, server: McpServer) -> str:
        return _names(server, "environment", endpoint_of(server).environment)

    # ------------------------------------------------------------ the form
    def get_fieldsets(self, request: HttpRequest, obj: McpServer | None = None) -> Any:
        if obj and obj.user_id:
            own = {"fields": ["name", "whose", "where", "state", "checked_at", "enabled"], "description": OWN_HELP}
            return [(None, own)]
        if obj and obj.is_builtin:
            return [(None, {"fields": ["name", "enabled"]}), ("Who may use it", {"fields": ["groups"]})]
        # Who may only look would be shown the values themselves, as Django shows what nobody can change.
        hidden = STORED if obj is None else set() if self.has_change_permission(request, obj) else SECRETS
        http, program = ([name for name in names if name not in hidden] for names in (HTTP, PROGRAM))
        return [
            (None, {"fields": ["name", "transport", "enabled"]}),
            ("Over HTTP", {"fields": http}),
            *([(STDIO, {"fields": program, "description": STDIO_HELP})] if _may_run_programs(request) else []),
            ("Who may use it", {"fields": ["groups"]}),
            ("Limits", {"fields": ["call_seconds"]}),
            *([("How it is", {"fields": HOW_IT_IS})] if obj else []),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: McpServer | None = None) -> list[str]:
        fixed = ["headers_stored", "environment_stored", *HOW_IT_IS]
        if obj and obj.user_id:
            return [*fixed, "name", "whose", "where"]
        if obj and obj.is_builtin:
            return [*fixed, "name"]
        return fixed if obj is None or _may_run_programs(request) else [*fixed, "transport"]

    def get_form(self, request: HttpRequest, obj: McpServer | None = None, change: bool = False, **options: Any) -> Any:
        if obj and not _is_set_up_here(obj):
            options["form"] = forms.ModelForm
        return super().get_form(request, obj, change, **options)

    def formfield_for_choice_field(self, db_field: Field, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "transport":
            transports = [McpServer.Transport.HTTP, McpServer.Transport.STDIO]
            shown = transports if _may_run_programs(request) else transports[:1]
            options["choices"] = [(transport.value, transport.label) for transport in shown]
        return super().formfield_for_choice_field(db_field, request, **options)

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        response = super().changeform_view(request, *args, **options)
        # Not before: Django holds a transaction open while it saves.
        if isinstance(response, HttpResponseRedirect) and (server := getattr(request, "saved_server", None)):
            return cast(HttpResponse, self.look_and_tell(request, [server], to=response.url))
        return response

    def save_model(self, request: HttpRequest, obj: McpServer, form: Any, change: bool) -> None:
        if change and not _is_set_up_here(obj):
            obj.updated_at = timezone.now()
            obj.save(update_fields=[*({"enabled"} & set(form.changed_data)), "updated_at"])
            return
        save_shared_server(obj, changed=form.changed_fields)
        if obj.status == McpServer.Status.UNTRIED:
            request.saved_server = obj  # type: ignore[attr-defined]

    def has_delete_permission(self, request: HttpRequest, obj: McpServer | None = None) -> bool:
        return (obj is None or _is_set_up_here(obj)) and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The servers, and how many tools go with them, which nobody deletes by themselves."""
        tools = Tool.objects.filter(server__in=[obj.pk for obj in objs]).count()
        return [str(obj) for obj in objs], {"MCP servers": len(objs), "tools": tools}, set(), []

    def delete_model(self, request: HttpRequest, obj: McpServer) -> None:
        delete_server(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        for server in queryset:
            delete_server(server)

    # ------------------------------------------------------------ asking a server
    @admin.action(description="Look what it offers", permissions=["change"])
    def look_at(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> HttpResponseBase:
        return self.look_and_tell(request, list(queryset), to=request.get_full_path())

    def look_and_tell(self, request: HttpRequest, servers: list[McpServer], *, to: str) -> HttpResponseBase:
        """Look at them, which takes seconds and holds no thread meanwhile; then to a page that says how it went."""
        asked = [server for server in servers if _is_set_up_here(server)]
        for server in servers:
            if server not in asked:
                whose = "its person's to look at" if server.user_id else "always here, and needs no look"
                self.message_user(request, f"{server}: it is {whose}.", messages.WARNING)
        if not asked:
            return HttpResponseRedirect(to)
        if len(asked) > LOOKS_MAX:
            return self.refuse(request, f"Choose at most {LOOKS_MAX} servers at a time.", back_to=to)
        try:
            check_room(cast(PageRequest, request))
        except TooMany as error:
            return self.refuse(request, error.message, back_to=to)
        pks = [server.pk for server in asked]
        told = reverse(
            f"{self.admin_site.name}:tools_mcpserver_looked",
            query={"server": pks, "since": timezone.now().isoformat(), "to": to},
        )
        return look_and_go(cast(PageRequest, request), *pks, to=told, seconds=settings.MCP_TEST_SECONDS)

    def tell_look(self, request: HttpRequest, server: McpServer, *, since: datetime) -> None:
        """How the look went that was begun at that moment."""
        if server.checked_at is None or server.checked_at < since:
            self.message_user(request, f"{server}: It could not be looked at now. Try again.", messages.ERROR)
        elif server.status == McpServer.Status.READY:
            said = f"It answers, and offers {server.tool_count} tool{'' if server.tool_count == 1 else 's'}."
            self.message_user(request, f"{server}: {said}", messages.SUCCESS)
        else:
            self.message_user(request, f"{server}: {show_unseen(server.error_message)}", messages.ERROR)
        if changed := server.suspended_count:
            self.message_user(
                request, f"{server}: {changed} changed, and suspended until accepted under Tools.", messages.WARNING
            )

    def get_urls(self) -> list[URLPattern]:
        look = self.admin_site.admin_view(require_POST(self.look_view))
        looked_view = self.admin_site.admin_view(require_safe(self.looked_view))
        return [
            path("<path:object_id>/look/", look, name="tools_mcpserver_look"),
            path("looked/", looked_view, name="tools_mcpserver_looked"),
            *super().get_urls(),
        ]

    def look_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The button of the change page."""
        server = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, server):
            raise PermissionDenied
        if server is None:
            raise Http404
        return self.look_and_tell(request, [server], to=self.change_url(server.pk))

    def looked_view(self, request: HttpRequest) -> HttpResponseBase:
        """Where a look leads: says how it went, on the page where the person was."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        to = request.GET.get("to", "")
        if not url_has_allowed_host_and_scheme(to, allowed_hosts=None):
            raise Http404
        try:
            since = datetime.fromisoformat(request.GET.get("since", ""))
            found = list(self.get_queryset(request).filter(pk__in=request.GET.getlist("server")[:LOOKS_MAX]))
        except (ValidationError, ValueError):
            raise Http404 from None
        if timezone.is_naive(since):
            raise Http404
        for server in filter(_is_set_up_here, found):
            self.tell_look(request, server, since=since)
        return HttpResponseRedirect(to)


class StateFilter(admin.SimpleListFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "usable"), ("changed", "changed, suspended"), ("broken", "can't be used"), ("gone", "gone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Tool]) -> QuerySet[Tool]:
        listed = queryset.filter(is_listed=True)
        match self.value():
            case "usable":
                return listed.filter(problem="", changed__isnull=True)
            case "changed":
                return listed.filter(changed__isnull=False)
            case "broken":
                return listed.exclude(problem="")
            case "gone":
                return queryset.filter(is_listed=False)
        return queryset


@admin.register(Tool)
class ToolAdmin(PoliteAdmin):
    """Tools of the operator's servers. Those of people's own are theirs to decide about."""

    list_display = ["shown_name", "server", "effect", "state", "policy"]
    list_editable = ["policy"]
    list_filter = [StateFilter, ("server", admin.RelatedOnlyFieldListFilter), "policy", "is_read_only"]
    search_fields = ["name", "title", "called", "server__name"]
    ordering = ["server__name", "name"]
    actions = ["accept_changes"]
    change_form_template = "admin/tools/tool/change_form.html"
    readonly_fields = (
        *("server", "shown_name", "called", "state", "difference", "effect", "shown_description"),
        *("schema", "said", "created_at", "updated_at"),
    )
    fields = ("policy", *readonly_fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tool]:
        tools = super().get_queryset(request).filter(server__user__isnull=True).select_related("server")
        return tools.defer("server__headers", "server__environment")

    @admin.display(description="name", ordering="name")
    def shown_name(self, tool: Tool) -> str:
        return show_unseen(f"{tool.title} ({tool.name})" if tool.title else tool.name)

    @admin.display(description="what it does", ordering="is_read_only")
    def effect(self, tool: Tool) -> str:
        return "only reads" if tool.is_read_only else "may change something"

    @admin.display
    def state(self, tool: Tool) -> str:
        if not tool.is_listed:
            return "gone"
        return tool.problem or ("changed, suspended" if tool.is_suspended else "usable")

    @admin.display(description="before and now")
    def difference(self, tool: Tool) -> str:
        if not tool.is_suspended:
            return "-"
        shown = {"differences": shown_differences(tool)}
        return render_to_string("tools/difference.html", {"shown": shown})

    @admin.display(description="what models are told")
    def shown_description(self, tool: Tool) -> str:
        return format_html('<div class="told">{}</div>', show_unseen(tool.description) or "-")

    @admin.display(description="what it takes")
    def schema(self, tool: Tool) -> str:
        return format_html('<pre class="told">{}</pre>', show_unseen(pretty(tool.input_schema)))

    @admin.display(description="what else is said of it")
    def said(self, tool: Tool) -> str:
        return format_html('<pre class="told">{}</pre>', show_unseen(pretty(tool.annotations)))

    def formfield_for_choice_field(self, db_field: Field, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "policy":
            options["choices"] = [("", "by what it does"), *Tool.Policy.choices]
        return super().formfield_for_choice_field(db_field, request, **options)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Tool | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Tool, form: Any, change: bool) -> None:
        # Only this: a look may find something new about the tool at the same time.
        obj.updated_at = timezone.now()
        obj.save(update_fields=["policy", "updated_at"])

    @admin.action(description="Accept what has changed", permissions=["change"])
    def accept_changes(self, request: HttpRequest, queryset: QuerySet[Tool]) -> HttpResponse | None:
        """First what has changed is shown; what is accepted then is what was seen."""
        suspended = list(queryset.filter(changed__isnull=False, is_listed=True))
        if not suspended:
            self.message_user(request, "None of these has changed.", messages.WARNING)
            return None
        if "confirmed" in request.POST:
            for tool in suspended:
                self._accept(request, tool)
            return None
        shown = [{"tool": tool, "mark": mark_of(tool), "differences": shown_differences(tool)} for tool in suspended]
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Accept what has changed?"}
        return TemplateResponse(request, "admin/tools/tool/accept.html", {**context, "suspended": shown})

    def _accept(self, request: HttpRequest, tool: Tool) -> None:
        try:
            accept_change(tool, seen=request.POST.get(f"seen-{tool.pk}", ""))
        except DomainError as error:
            self.message_user(request, f"Not accepted: {self.shown_name(tool)}. {error.message}", messages.ERROR)
            return
        self.log_change(request, tool, "Accepted as its server offers it now.")
        self.message_user(request, f"Accepted as it is now: {self.shown_name(tool)}", messages.SUCCESS)


def _is_set_up_here(server: McpServer) -> bool:
    return server.is_shared and not server.is_builtin


def _may_run_programs(request: HttpRequest) -> bool:
    """Whoever names a program to start may do all that Parley may."""
    return bool(request.user.is_superuser)


def _names(server: McpServer, column: str, held: Any) -> str:
    """The names of stored secrets."""
    if not held and server.pk and McpServer.objects.filter(pk=server.pk).exclude(**{column: ""}).exists():
        return "can't be read with the present ENCRYPTION_KEYS: enter them again"
    return ", ".join(held) or "none"
