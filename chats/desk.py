"""The desk where staff choose what makes vectors of documents."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.columns import moment
from accounts.models import User
from accounts.queries import found
from chats.catalog.desk import PoliteAdmin
from chats.catalog.models import AIModel, Price
from chats.errors import DomainError
from chats.knowledge import choosing
from chats.knowledge.embedders import is_minilm_installed
from chats.knowledge.models import Embedder
from chats.money import plain_usd
from chats.replies.embedding import choose_embedder
from chats.usage.costs import MILLION

FIXED = [
    "name",
    "state",
    "progress",
    "problem",
    "ai_model",
    "settings",
    "query_prefix",
    "text_prefix",
    "dimensions",
    "created_at",
]


def _prefix_field(label: str, help_text: str) -> forms.CharField:
    widget = forms.TextInput(attrs={"class": "vTextField"})
    return forms.CharField(label=label, required=False, strip=False, widget=widget, help_text=help_text)


class EmbedderForm(forms.ModelForm):
    choice = forms.ChoiceField(
        label="What makes the vectors",
        help_text="Models that are enabled and marked as «makes vectors of documents». It is tried when you save.",
    )
    query_prefix = _prefix_field(
        "Before every question",
        "Some models tell questions from texts by it: «query: » for E5, «search_query: » for nomic-embed.",
    )
    text_prefix = _prefix_field(
        "Before every text", "«passage: » for E5, «search_document: » for nomic-embed; nothing for most others."
    )

    class Meta:
        model = Embedder
        fields = ["query_prefix", "text_prefix"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(field := self.fields.get("choice"), forms.ChoiceField):
            field.choices = [*_choices_here(), *((str(pk), label) for pk, label in _models_on_offer())]


def _choices_here() -> list[tuple[str, str]]:
    choices = [(Embedder.Kind.BUILTIN.value, "Built in: words and parts of words, no network")]
    if is_minilm_installed():
        choices.append((Embedder.Kind.MINILM.value, "all-MiniLM-L6-v2: meanings in English, on these servers"))
    return choices


def _models_on_offer() -> Iterator[tuple[UUID, str]]:
    models = AIModel.objects.enabled().filter(kind=AIModel.Kind.EMBEDDING).select_related("provider")
    return ((model.pk, f"{model.name} ({model.provider})") for model in models)


class EmbedderAdmin(PoliteAdmin):
    """Each row is a choice; the one in force is active. A choice never changes, it is made anew."""

    form = EmbedderForm
    list_display = ["name", "state", "progress", "dimensions", "problem", moment("created_at")]
    ordering = ["-id"]

    def get_fields(self, request: HttpRequest, obj: Embedder | None = None) -> Any:
        return FIXED if obj else ["choice", "query_prefix", "text_prefix"]

    def get_readonly_fields(self, request: HttpRequest, obj: Embedder | None = None) -> list[str]:
        return FIXED if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Embedder]:
        return super().get_queryset(request).select_related("provider")

    @admin.display(description="what makes vectors of documents")
    def name(self, embedder: Embedder) -> str:
        return str(embedder)

    @admin.display
    def progress(self, embedder: Embedder) -> str:
        if embedder.state == Embedder.State.RETIRED:
            return "-"
        is_preparing = embedder.state == Embedder.State.PREPARING
        if not is_preparing and Embedder.objects.filter(state=Embedder.State.PREPARING).exists():
            return "in use until the next one is ready"
        so_far = choosing.progress(embedder)
        if so_far.done == so_far.documents:
            return f"all {so_far.documents:,} documents"
        said = f"{so_far.done:,} of {so_far.documents:,} documents"
        return f"{said}, {so_far.vectors:,} of {so_far.chunks:,} parts" if is_preparing else said

    @admin.display(description="what went wrong last")
    def problem(self, embedder: Embedder) -> str:
        return embedder.error or "-"

    def has_change_permission(self, request: HttpRequest, obj: Embedder | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Embedder | None = None) -> bool:
        # The one in force goes when another has taken over.
        is_choice = obj is None or obj.state == Embedder.State.PREPARING
        return is_choice and super().has_delete_permission(request, obj)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if request.method == "POST" and self.has_add_permission(request):
            form = self.get_form(request)(request.POST)
            # Not by Django's own way, which would hold a transaction open while the provider is asked.
            if form.is_valid():
                return self._choose(request, form.cleaned_data)
        shown = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        return super().add_view(request, form_url, shown)

    def _choose(self, request: HttpRequest, chosen: dict[str, Any]) -> HttpResponse:
        assert isinstance(request.user, User)
        try:
            embedder, said = _choose(request.user, **chosen)
        except DomainError as error:
            # What was chosen stays in the form.
            return self.refuse(request, error.message, back_to=f"{request.path}?{urlencode(chosen)}")
        self.log_addition(request, embedder, [{"added": {}}])
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:knowledge_embedder_changelist"))

    def delete_model(self, request: HttpRequest, obj: Embedder) -> None:
        choosing.give_up(obj)


def _choose(staff: User, choice: str, **prefixes: str) -> tuple[Embedder, str]:
    """What was chosen, and what to say about it."""
    if choice in Embedder.Kind.values:
        embedder = choosing.choose_local(Embedder.Kind(choice))
        return embedder, f"«{embedder}» takes over once it has read all documents."
    chosen = choose_embedder(staff, found(AIModel.objects.select_related("provider"), pk=UUID(choice)), **prefixes)
    return chosen.embedder, _words_of(chosen)


def _words_of(chosen: choosing.Chosen) -> str:
    said = [f"«{chosen.embedder}» answers, and takes over once it has read all documents:"]
    said.append(f"about {chosen.tokens:,} tokens,")
    said.append(_cost_of(chosen.tokens, chosen.asked.price))
    return " ".join(said)


def _cost_of(tokens: int, price: Price | None) -> str:
    if price is None:
        return "at an unknown price: give the model one, and what it costs is booked."
    return f"about {plain_usd(round(tokens * price.input_per_million / MILLION, 4))} USD."


admin.site.register(Embedder, EmbedderAdmin)
