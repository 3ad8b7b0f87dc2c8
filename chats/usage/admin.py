"""The ledger as staff read it: every provider call, what it used and what it cost, exactly."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts.columns import moment
from chats.catalog.desk import ReadOnlyAdmin
from chats.money import plain_usd
from chats.usage.models import UsageRecord


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    list_display = [
        moment("created_at"),
        "user_email",
        "model_name",
        "cost_usd",
        "tokens_in",
        "tokens_out",
        "estimated",
    ]
    list_filter = ["created_at", "purpose", "is_estimated", ("cost", admin.EmptyFieldListFilter), "model"]
    search_fields = ["user_email", "model_name", "provider_name"]

    @admin.display(description="cost, USD", ordering="cost")
    def cost_usd(self, record: UsageRecord) -> str:
        return "unknown" if record.cost is None else plain_usd(record.cost)

    @admin.display(description="in", ordering="input_tokens")
    def tokens_in(self, record: UsageRecord) -> int:
        return record.input_tokens

    @admin.display(description="out", ordering="output_tokens")
    def tokens_out(self, record: UsageRecord) -> int:
        return record.output_tokens

    @admin.display(boolean=True, ordering="is_estimated")
    def estimated(self, record: UsageRecord) -> bool:
        return record.is_estimated

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        # A filter that makes no sense is answered with a redirect, which shows nothing.
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            response.context_data["total"] = total_of(response.context_data["cl"].queryset)
        return response


def total_of(records: QuerySet[UsageRecord]) -> dict[str, Any]:
    """Tokens and USD of all `records`, and how many of them have no known cost."""
    total = records.order_by().aggregate(
        calls=Count("pk"),
        input_tokens=Sum("input_tokens", default=0),
        output_tokens=Sum("output_tokens", default=0),
        usd=Sum("cost", default=Decimal(0)),
        unknown=Count("pk", filter=Q(cost=None)),
    )
    return {**total, "usd": plain_usd(total["usd"])}
