"""/api/v1/mcp-servers/ and /api/v1/tools/: where a person's tools come from, and what they may do."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.queries import found
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person, principal
from chats.api.documentation import PAGING
from chats.api.pagination import page_of
from chats.api.streams import answer_of, check_room
from chats.errors import Invalid
from chats.replies.database import in_database
from chats.replies.present import moment
from chats.replies.servers import look
from chats.tools import services
from chats.tools.discovery import accept_change, differences, mark_of
from chats.tools.models import McpServer, Tool
from chats.tools.models.server import NAME_MAX_LENGTH, URL_MAX_LENGTH

HEADER_MAX_CHARACTERS = 8_000
WANTS_SIGN_IN = "This server wants you to sign in."


class ConfigForm(serializers.Serializer[Any]):
    url = f.Text(max_length=URL_MAX_LENGTH, help_text="Of its streamable HTTP endpoint, like https://example.com/mcp.")
    headers = serializers.DictField(
        child=f.Text(max_length=HEADER_MAX_CHARACTERS, allow_blank=True),
        required=False,
        help_text=f"Sent with every request. Never shown again; {services.MASK} stands for «as it was».",
    )


class ConfigChangeForm(ConfigForm):
    url = f.Text(max_length=URL_MAX_LENGTH, required=False)


class ServerForm(serializers.Serializer[Any]):
    name = f.Text(max_length=NAME_MAX_LENGTH)
    config = ConfigForm()
    enabled = f.Flag(default=True)


class ServerChangeForm(serializers.Serializer[Any]):
    name = f.Text(max_length=NAME_MAX_LENGTH, required=False)
    config = ConfigChangeForm(required=False)
    enabled = f.Flag(required=False)


class PolicyForm(serializers.Serializer[Any]):
    policy = serializers.ChoiceField(choices=Tool.Policy.values)


class AcceptForm(serializers.Serializer[Any]):
    seen = f.Text(
        required=False,
        max_length=64,
        help_text="`mark` of the tool as it was read: it is a conflict when it has changed once more since.",
    )


class McpServerResource(Resource):
    @extend_schema(operation_id="mcp_servers_list", parameters=PAGING, responses=shapes.McpServerList)
    def list(self, request: Request) -> Response:
        """Servers whose tools your answers may use: your own, and those that the operator has set up."""
        servers = McpServer.objects.visible_to(person(request)).with_sign_in_of(person(request)).remote()
        return Response(page_of(request, servers, lambda rows: [server_json(row) for row in rows]))

    @extend_schema(request=ServerForm, responses={201: shapes.McpServer})
    def create(self, request: Request) -> StreamingHttpResponse:
        """Add a server, and look at once what it offers. It is added also when it does not answer: see its `status`."""
        sent = checked(ServerForm, request)
        check_room(request)
        server = services.add_server(person(request), **{"headers": {}, **_flat(sent)})
        return self._looked_at(request, server, status=201)

    @extend_schema(responses=shapes.McpServer)
    def retrieve(self, request: Request, server_id: UUID) -> Response:
        """One server. The values of its headers are never shown."""
        return Response(server_json(_visible(request, server_id)))

    @extend_schema(request=ServerForm, responses=shapes.McpServer)
    def update(self, request: Request, server_id: UUID) -> HttpResponseBase:
        """Change all of a server. Another host is another server: its tools are found, and decided about, anew."""
        fields = {"headers": {}, **_flat(checked(ServerForm, request))}
        return self._changed(request, _editable(request, server_id), fields)

    @extend_schema(request=ServerChangeForm, responses=shapes.McpServer)
    def partial_update(self, request: Request, server_id: UUID) -> HttpResponseBase:
        """Change some of a server: its name, its address, its headers, or whether it is on."""
        return self._changed(request, _editable(request, server_id), _flat(checked(ServerChangeForm, request)))

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, server_id: UUID) -> Response:
        """Remove a server with its secrets and its tools. What its tools answered stays in your chats."""
        services.delete_server(_editable(request, server_id))
        return Response(status=204)

    @extend_schema(request=None, responses=shapes.McpServer)
    def test(self, request: Request, server_id: UUID) -> StreamingHttpResponse:
        """Look what the server offers now. `status` and `error` say how it went."""
        check_room(request)
        server = _editable(request, server_id)
        services.count_change(person(request))
        return self._looked_at(request, server, status=200)

    @extend_schema(operation_id="mcp_servers_tools", parameters=PAGING, responses=shapes.ToolList)
    def tools(self, request: Request, server_id: UUID) -> Response:
        """The tools of one server, with what you let each of them do."""
        server = _visible(request, server_id)
        return Response(page_of(request, services.find_tools(person(request), server.pk), tools_json))

    def _changed(self, request: Request, server: McpServer, fields: Mapping[str, Any]) -> HttpResponseBase:
        if fields.keys() & {"url", "headers"}:
            check_room(request)
        services.update_server(server, **fields)
        if fields.keys() & {"url", "headers"}:
            return self._looked_at(request, server, status=200)
        return Response(server_json(server))

    def _looked_at(self, request: Request, server: McpServer, *, status: int) -> StreamingHttpResponse:
        user = person(request)

        async def work() -> dict[str, Any]:
            await look(server.pk, seconds=settings.MCP_CONNECT_SECONDS)
            shown = await in_database(_as_it_is, user, server.pk)
            response.status_code = status
            return shown

        response = answer_of(principal(request), work)
        return response


class ToolResource(Resource):
    @extend_schema(operation_id="tools_list", parameters=PAGING, responses=shapes.ToolList)
    def list(self, request: Request) -> Response:
        """All tools that you see, those that Parley brings itself among them."""
        return Response(page_of(request, services.find_tools(person(request)), tools_json))

    @extend_schema(responses=shapes.Tool)
    def retrieve(self, request: Request, tool_id: UUID) -> Response:
        """One tool, and if its server offers it differently by now, the difference."""
        return Response(tool_json(_tool(request, tool_id)))

    @extend_schema(request=PolicyForm, responses=shapes.Tool)
    def partial_update(self, request: Request, tool_id: UUID) -> Response:
        """Say what a tool may do: `allow`, `ask` each time, or `deny`.

        A tool that changes something asks again all the same once text of others is in the chat.
        """
        policy = checked(PolicyForm, request)["policy"]
        services.set_policy(person(request), _tool(request, tool_id), policy)
        return Response(tool_json(_tool(request, tool_id)))

    @extend_schema(request=AcceptForm, responses=shapes.Tool)
    def accept(self, request: Request, tool_id: UUID) -> Response:
        """Take a tool as its server offers it now. Until then it is suspended."""
        tool = _tool(request, tool_id)
        if tool.server.user_id != person(request).pk:
            raise Invalid("This server is the operator's, who has to look at it.")
        accept_change(tool, seen=checked(AcceptForm, request).get("seen"))
        return Response(tool_json(_tool(request, tool_id)))


def server_json(server: McpServer) -> dict[str, Any]:
    """One server, of `with_sign_in_of()`."""
    status = server.status_for_person
    message = (server.refusal or WANTS_SIGN_IN) if status != server.status else server.error_message
    if server.is_shared and status == server.status != McpServer.Status.READY:
        message = "It does not work at the moment. The people who run this site have to look at it."
    is_failed = status in {McpServer.Status.FAILED, McpServer.Status.SIGN_IN}
    # Where the operator's servers are is the operator's business.
    config = None if server.is_shared else {"url": server.url, "headers": services.masked_headers(server)}
    return {
        "id": str(server.pk),
        "name": server.name,
        "config": config,
        "enabled": server.enabled,
        "is_shared": server.is_shared,
        "transport": server.transport,
        "status": status,
        "error": {"code": f"tool_server_{status}", "message": message} if is_failed else None,
        "sign_in": {"is_needed": server.needs_sign_in, "is_signed_in": server.is_signed_in},
        "notices": server.notices,
        "about": server.about,
        "checked_at": moment(server.checked_at),
        "created_at": moment(server.created_at),
        "updated_at": moment(server.updated_at),
    }


def tool_json(tool: Tool) -> dict[str, Any]:
    """One tool, of `with_choice_of()`."""
    return {
        "id": str(tool.pk),
        "server": str(tool.server_id),
        "server_name": tool.server.name,
        "name": tool.name,
        "called": tool.called,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "annotations": tool.annotations,
        "is_read_only": tool.is_read_only,
        "policy": tool.policy_chosen,
        "is_usable": tool.is_usable and tool.server.enabled,
        "is_suspended": tool.is_suspended,
        "mark": mark_of(tool),
        "is_listed": tool.is_listed,
        "problem": tool.problem,
        "differences": [{"what": what, "before": before, "now": now} for what, before, now in differences(tool)]
        if tool.is_suspended
        else [],
    }


def tools_json(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    return [tool_json(tool) for tool in tools]


def _flat(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a form as the verbs take them."""
    config = sent.get("config", {})
    flat = {name: sent[name] for name in ("name", "enabled") if name in sent}
    flat |= {name: config[name] for name in ("url", "headers") if name in config}
    return flat


def _visible(request: Request, server_id: UUID) -> McpServer:
    servers = McpServer.objects.visible_to(person(request)).with_sign_in_of(person(request))
    return found(servers.remote(), pk=server_id)


def _editable(request: Request, server_id: UUID) -> McpServer:
    servers = McpServer.objects.editable_by(person(request)).with_sign_in_of(person(request))
    return found(servers.select_related("user"), pk=server_id)


def _tool(request: Request, tool_id: UUID) -> Tool:
    return found(services.find_tools(person(request)), pk=tool_id)


def _as_it_is(user: User, server_id: UUID) -> dict[str, Any]:
    return server_json(found(McpServer.objects.visible_to(user).with_sign_in_of(user), pk=server_id))
