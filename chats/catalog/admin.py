"""The desk where staff curate providers, models and prices."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.forms import ModelForm
from django.forms.models import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from accounts.models import User
from chats.catalog import connection, services
from chats.catalog.desk import PoliteAdmin
from chats.catalog.forms import AIModelForm, ProviderForm
from chats.catalog.models import AIModel, AIModelQuerySet, Price, Provider, ProviderQuerySet
from chats.errors import Invalid
from chats.money import plain_usd

Ask = Callable[[HttpRequest, Provider], None]


@admin.register(Provider)
class ProviderAdmin(PoliteAdmin):
    form = ProviderForm
    fields = ["name", "kind", "base_url", "api_key", "clear_key", "enabled"]
    list_display = ["name", "kind", "base_url", "enabled", "model_count", "key_state"]
    list_filter = ["kind", "enabled"]
    search_fields = ["name", "base_url"]
    actions = ["test_connections", "import_from"]

    def get_fields(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        if obj is None or self.has_change_permission(request, obj):
            return self.fields
        # Who may only look would be shown the key itself, as Django shows what nobody can change.
        return ["name", "kind", "base_url", "enabled"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Provider]:
        providers = cast(ProviderQuerySet, super().get_queryset(request))
        return providers.with_key_state().with_model_count()

    @admin.display(description="models", ordering="model_count")
    def model_count(self, provider: Provider) -> int:
        return provider.model_count

    @admin.display(description="key", ordering="has_stored_key")
    def key_state(self, provider: Provider) -> str:
        if provider.has_stored_key and not provider.api_key:
            return "can't be read: enter it again"
        return "yes" if provider.has_stored_key else "no"

    def check_deletable(self, obj: Provider) -> None:
        services.check_empty(obj)

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        services.delete_provider(obj)

    def save_model(self, request: HttpRequest, obj: Provider, form: ProviderForm, change: bool) -> None:
        # Only what was changed: a stored key that can't be read at the moment must not be overwritten by "".
        obj.save(update_fields=[*form.changed_fields, "updated_at"] if change else None)
        if obj.kind == Provider.Kind.OPENAI and not obj.base_url.endswith("/v1"):
            hint = "This address does not end in /v1, as that of most servers does. Test the connection to be sure."
            self.message_user(request, hint, messages.WARNING)

    # ------------------------------------------------------------ asking a provider
    @admin.action(description="Test connection", permissions=["change"])
    def test_connections(self, request: HttpRequest, queryset: models.QuerySet[Provider]) -> None:
        for provider in queryset:
            self.tell_connection(request, provider)

    @admin.action(description="Import models from this provider", permissions=["change"])
    def import_from(self, request: HttpRequest, queryset: models.QuerySet[Provider]) -> None:
        for provider in queryset:
            self.tell_import(request, provider)

    def tell_connection(self, request: HttpRequest, provider: Provider) -> None:
        report = connection.test_connection(provider)
        self.message_user(request, f"{provider}: {report.message}", messages.SUCCESS if report.ok else messages.ERROR)

    def tell_import(self, request: HttpRequest, provider: Provider) -> None:
        try:
            imported = connection.import_models(provider)
        except Invalid as error:
            self.message_user(request, f"{provider}: {error.message}", messages.ERROR)
            return
        self.log_change(request, provider, f"Imported {len(imported.added)} models.")
        self.message_user(request, f"{provider}: {imported.summary}", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        asked = [("test-connection", self.tell_connection), ("import-models", self.tell_import)]
        own = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(require_POST(self._asking(ask))),
                name=f"catalog_provider_{name}",
            )
            for name, ask in asked
        ]
        return own + super().get_urls()

    def _asking(self, ask: Ask) -> Callable[[HttpRequest, str], HttpResponse]:
        """The view behind a button of the change page."""

        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            provider = self.get_object(request, unquote(object_id))
            if not self.has_change_permission(request, provider):
                raise PermissionDenied
            if provider is None:
                raise Http404
            ask(request, provider)
            return HttpResponseRedirect(self.change_url(provider.pk))

        return view


class PriceInline(admin.TabularInline):
    """The row for a new price. Those before it are shown, not edited."""

    model = Price
    extra = 1
    verbose_name_plural = "new price (what was billed stays)"
    fields = [
        "valid_from",
        "input_per_million",
        "output_per_million",
        "cached_input_per_million",
        "cache_write_per_million",
        "per_request",
        "reason",
    ]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Price]:
        return super().get_queryset(request).none()

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False


@admin.register(AIModel)
class AIModelAdmin(PoliteAdmin):
    form = AIModelForm
    list_display = ["name", "provider", "model_id", "current_price", "enabled", "order"]
    list_editable = ["enabled", "order"]
    list_filter = ["enabled", "kind", "provider", "groups", "writes_titles"]
    list_select_related = ["provider"]
    search_fields = ["name", "model_id", "description", "provider__name"]
    filter_horizontal = ["groups"]
    inlines = [PriceInline]
    fieldsets = [
        (None, {"fields": ["provider", "name", "model_id", "kind", "description", "enabled", "order"]}),
        ("Who may use it", {"fields": ["groups"]}),
        ("What it can do", {"fields": [*("supports_vision", "supports_tools", "supports_reasoning")]}),
        ("Limits", {"fields": ["context_window", "max_output_tokens", "first_token_seconds", "silence_seconds"]}),
        ("When it does not answer", {"fields": ["fallback"]}),
        ("Settings", {"fields": ["default_settings"]}),
        ("Titles", {"fields": ["writes_titles"]}),
        ("Prices, USD per million tokens", {"fields": ["price_history"]}),
    ]
    readonly_fields = ["price_history"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[AIModel]:
        return cast(AIModelQuerySet, super().get_queryset(request)).with_current_price(timezone.now())

    @admin.display(description="USD per million, in / out")
    def current_price(self, model: AIModel) -> str:
        if not model.current_prices:
            return format_html('<strong class="unknown-price">{}</strong>', "unknown")
        price = model.current_prices[0]
        return f"{plain_usd(price.input_per_million)} / {plain_usd(price.output_per_million)}"

    @admin.display(description="prices so far")
    def price_history(self, model: AIModel) -> str:
        prices = list(model.prices.select_related("author")) if model.pk else []
        current = model.price_at(timezone.now()) if prices else None
        return render_to_string("admin/catalog/aimodel/price_history.html", {"prices": prices, "current": current})

    def check_deletable(self, obj: AIModel) -> None:
        services.check_unused(obj)

    def delete_model(self, request: HttpRequest, obj: AIModel) -> None:
        services.delete_model(obj)

    def save_formset(self, request: HttpRequest, form: ModelForm, formset: BaseInlineFormSet, change: bool) -> None:
        assert isinstance(request.user, User)
        formset.save(commit=False)  # finds what is new; old rows are never saved again
        for price in formset.new_objects:
            services.set_price(
                price.model,
                valid_from=price.valid_from,
                reason=price.reason,
                author=request.user,
                **asdict(services.values_of(price)),
            )
