"""/api/v1/keys/: the API keys of the person who asks."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import ApiKey
from accounts.queries import found
from accounts.services import KEY_NAME_MAX_LENGTH, create_api_key, revoke_api_key
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person
from chats.api.documentation import CLIENT_ID_HELP, PAGING
from chats.api.pagination import page_of

KEY_FIELDS = ("id", "name", "hint", "created_at", "last_used_at", "expires_at", "revoked_at")


class KeyForm(serializers.Serializer[Any]):
    name = f.Text(max_length=KEY_NAME_MAX_LENGTH)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Left out: it does not expire.")
    client_id = f.ClientId(help_text=CLIENT_ID_HELP)


class KeyResource(Resource):
    @extend_schema(operation_id="keys_list", parameters=PAGING, responses=shapes.KeyList)
    def list(self, request: Request) -> Response:
        """Your keys, revoked ones included, newest first. Their secrets are not stored."""
        return Response(page_of(request, ApiKey.objects.visible_to(person(request)).values(*KEY_FIELDS), list))

    @extend_schema(request=KeyForm, responses={201: shapes.NewKey, 200: shapes.NewKey})
    def create(self, request: Request) -> Response:
        """Make a key. Only this answer has its secret; for a repeated `client_id` it is empty, with 200."""
        key, secret = create_api_key(person(request), **checked(KeyForm, request))
        shown = {name: getattr(key, name) for name in KEY_FIELDS}
        return Response(shown | {"secret": secret}, status=201 if secret else 200)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, key_id: UUID) -> Response:
        """Revoke a key. It opens nothing from now on."""
        revoke_api_key(found(ApiKey.objects.editable_by(person(request)), pk=key_id))
        return Response(status=204)
