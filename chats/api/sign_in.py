"""/api/v1/mcp-servers/…/sign-in/: a person's way into a server that lets nobody else act for them."""

from typing import Any
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.queries import found
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person, principal
from chats.api.streams import answer_of, check_room, done_after
from chats.replies.database import in_database
from chats.tools.models import McpServer
from chats.tools.oauth import flow, rows
from chats.tools.services import count_change


class SignInForm(serializers.Serializer[Any]):
    client_id = f.Text(
        required=False,
        allow_blank=True,
        max_length=flow.CLIENT_ID_MAX_LENGTH,
        help_text="Of a client that you have registered where one signs in; left out, Parley registers one.",
    )
    client_secret = f.Text(required=False, allow_blank=True, max_length=flow.CLIENT_SECRET_MAX_LENGTH)


class SignInResource(Resource):
    @extend_schema(operation_id="mcp_servers_sign_in", request=SignInForm, responses={200: shapes.SignInStarted})
    def create(self, request: Request, server_id: UUID) -> HttpResponseBase:
        """Begin to sign in to a server: send the person to `authorization_url`, in the browser that asked for it.

        An API key has no browser: with one, it is the page on which its person begins.
        """
        server = _visible(request, server_id)
        check_room(request)
        entered = flow.Entered(**checked(SignInForm, request))
        entered.check()
        count_change(person(request))
        if principal(request).kind != "session":
            return Response({"authorization_url": request.build_absolute_uri(_page_of(server))})
        return self._begun(request, server, entered)

    @extend_schema(operation_id="mcp_servers_sign_out", responses={204: None})
    def destroy(self, request: Request, server_id: UUID) -> HttpResponseBase:
        """Sign out of a server. Parley forgets the tokens, and tells who has given them out."""
        server = _visible(request, server_id)
        grant, trusted_host = rows.forget(server.pk, person(request).pk)
        if grant is None or not grant.issuer.revocation_endpoint:
            return Response(status=204)
        return done_after(principal(request), lambda: flow.revoke(grant, trusted_host=trusted_host))

    def _begun(self, request: Request, server: McpServer, entered: flow.Entered) -> StreamingHttpResponse:
        user_id, nonce = person(request).pk, flow.nonce_of(request.session)
        redirect_uri = flow.callback_url(request.build_absolute_uri("/"))

        async def work() -> dict[str, Any]:
            sent = await flow.begin(
                in_database, server.pk, user_id, nonce=nonce, redirect_uri=redirect_uri, entered=entered
            )
            return {"authorization_url": sent.url}

        return answer_of(principal(request), work)


def _visible(request: Request, server_id: UUID) -> McpServer:
    servers = McpServer.objects.visible_to(person(request)).filter(transport=McpServer.Transport.HTTP)
    return found(servers, pk=server_id)


def _page_of(server: McpServer) -> str:
    return reverse("pages:sign_in", args=[server.pk])
