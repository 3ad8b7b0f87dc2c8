"""/api/v1/me/ and /api/v1/usage/: the person who asks, and what they used."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.services import NAME_MAX_LENGTH, update_profile
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, person
from chats.api.documentation import PAGING
from chats.api.pagination import page_of
from chats.usage.models import UsageRecord

USAGE_FIELDS = (
    "id",
    "chat",
    "message",
    "reply",
    "purpose",
    "provider_name",
    "model_name",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost",
    "is_estimated",
    "created_at",
)


class MeForm(serializers.Serializer[Any]):
    name = f.Text(required=False, allow_blank=True, max_length=NAME_MAX_LENGTH)
    preferences = serializers.DictField(required=False, help_text="Those that are not named stay as they are.")


class MeResource(Resource):
    @extend_schema(responses=shapes.Me)
    def retrieve(self, request: Request) -> Response:
        """You."""
        return Response(_me_json(person(request)))

    @extend_schema(request=MeForm, responses=shapes.Me)
    def partial_update(self, request: Request) -> Response:
        """Change your name or your preferences."""
        return Response(_me_json(update_profile(person(request), **checked(MeForm, request))))


class UsageResource(Resource):
    @extend_schema(operation_id="usage_list", parameters=PAGING, responses=shapes.UsageList)
    def list(self, request: Request) -> Response:
        """What each of your calls to a model used and cost, newest first. Rows never change."""
        rows = UsageRecord.objects.visible_to(person(request)).values(*USAGE_FIELDS)
        return Response(page_of(request, rows, list))


def _me_json(user: User) -> dict[str, Any]:
    return {
        "id": user.pk,
        "email": user.email,
        "name": user.name,
        "is_staff": user.is_staff,
        "preferences": user.preferences,
        "created_at": user.created_at,
    }
