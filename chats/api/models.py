"""/api/v1/models/: the models the person who asks may use, with what they cost now."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chats.api import shapes
from chats.api.base import Resource, person
from chats.api.documentation import PAGING
from chats.api.pagination import page_of
from chats.catalog.models import AIModel, Price
from chats.catalog.services import simple_price, values_of
from chats.replies.present import money


class ModelResource(Resource):
    @extend_schema(operation_id="models_list", parameters=PAGING, responses=shapes.ModelList)
    def list(self, request: Request) -> Response:
        """The enabled models you may use, in the order staff gave them."""
        models = AIModel.objects.visible_to(person(request)).select_related("provider")
        page = page_of(request, models.with_current_price(timezone.now()), _models_json)
        if page["results"] and page["previous"] is None:
            page["results"][0]["is_default"] = True
        return Response(page)


def _models_json(models: Sequence[AIModel]) -> list[dict[str, Any]]:
    return [_model_json(model, next(iter(model.current_prices), None)) for model in models]


def _model_json(model: AIModel, price: Price | None) -> dict[str, Any]:
    return {
        "id": model.pk,
        "name": model.name,
        "provider": model.provider.name,
        "model_id": model.model_id,
        "description": model.description,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "abilities": {
            "vision": model.supports_vision,
            "tools": model.supports_tools,
            "reasoning": model.supports_reasoning,
        },
        "is_enabled": True,
        "is_default": False,
        "price": price and _price_json(price),
        "price_per_million_tokens": money(simple_price(price)),
    }


def _price_json(price: Price) -> dict[str, str | None]:
    return {name: money(usd) for name, usd in asdict(values_of(price)).items()} | {"currency": "USD"}
