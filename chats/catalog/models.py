"""Provider, AIModel and Price: what staff curate in the admin."""

import uuid
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import TextChoices
from django.db.models.expressions import RawSQL
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.queries import columns_of, stored
from chats.catalog.addresses import clean_base_url
from chats.catalog.encryption import EncryptedTextField
from chats.cleaning import check_json
from chats.errors import Invalid
from chats.money import plain_usd

SETTINGS_MAX_BYTES = 16_000
WAIT_MAX_SECONDS = 3_600
# SQLite would take more than PostgreSQL's integer holds.
FITS_COLUMN = MaxValueValidator(2_147_483_647)


class ProviderQuerySet(models.QuerySet["Provider"]):
    def with_key_state(self) -> Self:
        """Each provider with `.has_stored_key`: true also when the key can't be read any more."""
        return self.annotate(
            has_stored_key=models.ExpressionWrapper(~models.Q(api_key=""), output_field=models.BooleanField())
        )

    def with_model_count(self) -> Self:
        """Each provider with `.model_count`."""
        return self.annotate(model_count=models.Count("models"))


class Provider(models.Model):
    """A server that runs AI models, and the key to it."""

    # By its own name: for mypy `models` means the provider's models in here.
    class Kind(TextChoices):
        OPENAI = "openai", "OpenAI-compatible server"
        DEMO = "demo", "Built-in demo (no network)"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.OPENAI)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        help_text="Up to and including /v1, for example https://api.openai.com/v1 or http://localhost:11434/v1.",
    )
    api_key = EncryptedTextField("API key", blank=True, default="", help_text="Stored encrypted and never shown again.")
    enabled = models.BooleanField(default=True, help_text="Off: none of its models can be used.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    has_stored_key: bool  # of with_key_state()
    model_count: int  # of with_model_count()

    objects: ClassVar[models.Manager["Provider"]] = ProviderQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["name"], name="provider_name_unique")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.api_key = self.api_key.strip()
        if not self.api_key.isascii() or not self.api_key.isprintable():
            raise ValidationError({"api_key": "A key has only letters, digits and signs: copy it again."})
        if self.base_url.strip():
            self._clean_base_url()
        elif self.kind == self.Kind.OPENAI:
            raise ValidationError({"base_url": "An OpenAI-compatible server needs its address."})

    def has_unreadable_key(self) -> bool:
        """Whether a key is stored that none of the present ENCRYPTION_KEYS can read."""
        return not self.api_key and Provider.objects.filter(pk=self.pk).exclude(api_key="").exists()

    def _clean_base_url(self) -> None:
        try:
            self.base_url = clean_base_url(self.base_url)
        except ValidationError as error:
            raise ValidationError({"base_url": error}) from None


# By hand, as every send asks: the ORM takes longer to write these than the database to answer them.
_IN_FORCE = """
    SELECT * FROM catalog_price WHERE model_id = %s AND valid_from <= %s
    ORDER BY valid_from DESC, created_at DESC, id DESC LIMIT 1
"""
_LIMITED = "SELECT aimodel_id FROM catalog_aimodel_groups"
_OF_GROUPS_OF = """
    SELECT limited.aimodel_id FROM catalog_aimodel_groups limited
    JOIN accounts_user_groups mine ON mine.group_id = limited.group_id WHERE mine.user_id = %s
"""


class AIModelQuerySet(models.QuerySet["AIModel"]):
    def enabled(self) -> Self:
        return self.filter(enabled=True, provider__enabled=True)

    def visible_to(self, user: User) -> Self:
        """Enabled models this person may chat with: those open to everyone, and those of a group they are in."""
        limited = RawSQL(_LIMITED, [])  # noqa: S611 - a constant
        theirs = RawSQL(_OF_GROUPS_OF, [stored(User, "id", user.pk)])  # noqa: S611 - a constant
        chatting = self.enabled().filter(kind=AIModel.Kind.CHAT)
        return chatting.filter(~models.Q(pk__in=limited) | models.Q(pk__in=theirs))

    def named(self, reference: str) -> Self:
        """Models a client may mean by `reference`: our id, the name, or the provider's model id."""
        meant = models.Q(name=reference) | models.Q(model_id=reference)
        with suppress(ValueError):
            meant |= models.Q(pk=uuid.UUID(reference))
        return self.filter(meant)

    def with_current_price(self, when: datetime) -> Self:
        """Each model with `.current_prices`: a list with its price at `when`, or empty when none is known."""
        newest = (
            Price.objects.filter(model=models.OuterRef("model"), valid_from__lte=when)
            .order_by("-valid_from", "-created_at", "-pk")
            .values("pk")[:1]
        )
        current = Price.objects.filter(pk=models.Subquery(newest))
        return self.prefetch_related(models.Prefetch("prices", queryset=current, to_attr="current_prices"))


def _wait_seconds(name: str, *, help_text: str) -> Any:
    return models.PositiveSmallIntegerField(
        name,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(WAIT_MAX_SECONDS)],
        error_messages={
            "min_value": "At least 1 second, or leave it empty.",
            "max_value": "At most 3600 seconds, which is an hour.",
        },
        help_text=help_text,
    )


class AIModel(models.Model):
    class Kind(TextChoices):
        CHAT = "chat", "answers in chats"
        EMBEDDING = "embedding", "makes vectors of documents (embeddings)"

    # `n` would be paid for several answers and show one.
    SETTINGS_OF_PARLEY: ClassVar[set[str]] = {"input", "messages", "model", "n", "stream", "stream_options", "tools"}

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=200, help_text="As people see it in the picker.")
    model_id = models.CharField("model id", max_length=200, help_text="As the provider calls it.")
    kind = models.CharField(
        max_length=20,
        choices=Kind.choices,
        default=Kind.CHAT,
        db_default=Kind.CHAT,
        help_text="Models for embeddings are in no picker: choose one under Knowledge, Embedders.",
    )
    description = models.CharField(max_length=300, blank=True, help_text="What it is good at; shown in the picker.")
    enabled = models.BooleanField(default=False, help_text="Off: hidden and refused everywhere, at once.")
    order = models.PositiveIntegerField(
        default=100, validators=[FITS_COLUMN], help_text="Lower comes first; the first is the default."
    )
    context_window = models.PositiveIntegerField(
        null=True, blank=True, validators=[FITS_COLUMN], help_text="Tokens it can read at once."
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[FITS_COLUMN], help_text="Most tokens in one answer."
    )
    supports_vision = models.BooleanField("vision", default=False)
    supports_tools = models.BooleanField(
        "tools", default=True, help_text="May be offered tools. Untick it for a model that refuses such requests."
    )
    supports_reasoning = models.BooleanField("reasoning", default=False)
    default_settings = models.JSONField(
        default=dict, blank=True, help_text='Sent with every request, for example {"temperature": 0.3}.'
    )
    first_token_seconds = _wait_seconds(
        "wait for the first word, seconds",
        help_text="How long it may think before anything of its answer comes. Empty: as the server is set.",
    )
    silence_seconds = _wait_seconds(
        "silence in mid-answer, seconds",
        help_text="How long it may pause in mid-answer before it is given up. Empty: as the server is set.",
    )
    fallback = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who answers when this model fails before its first word, for people who may use that one too.",
    )
    writes_titles = models.BooleanField(
        default=False, help_text="Also writes the titles of new chats. At most one model; none: the first words stand."
    )
    groups = models.ManyToManyField(
        "auth.Group", blank=True, related_name="+", help_text="Who may use it. None chosen: everyone."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    current_prices: list["Price"]  # of with_current_price()

    objects: ClassVar[models.Manager["AIModel"]] = AIModelQuerySet.as_manager()

    class Meta:
        verbose_name = "AI model"
        ordering = ["order", "name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model_id"],
                name="aimodel_provider_model_id_unique",
                violation_error_message="A model with this provider and model id already exists.",
            ),
            models.UniqueConstraint(
                fields=["provider", "name"],
                name="aimodel_provider_name_unique",
                violation_error_message="A model with this provider and name already exists.",
            ),
            models.UniqueConstraint(
                fields=["writes_titles"],
                condition=models.Q(writes_titles=True),
                name="aimodel_one_writes_titles",
                violation_error_message="Another model already writes titles.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def price_at(self, when: datetime) -> "Price | None":
        """The price in force at `when`; None when unknown, which never means free."""
        values = [stored(Price, "model", self.pk), stored(Price, "valid_from", when)]
        return next(iter(Price.objects.raw(_IN_FORCE.replace("*", columns_of(Price)), values)), None)

    def clean(self) -> None:
        self.default_settings = self.default_settings or {}
        if not isinstance(self.default_settings, dict):
            raise ValidationError({"default_settings": "Must be a JSON object."})
        if taken := self.SETTINGS_OF_PARLEY & self.default_settings.keys():
            raise ValidationError({"default_settings": f"Parley sets these itself: {', '.join(sorted(taken))}."})
        if self.kind != self.Kind.CHAT and self.writes_titles:
            raise ValidationError({"writes_titles": "Only a model that answers in chats can write titles."})
        try:
            check_json(self.default_settings, field="default_settings", max_bytes=SETTINGS_MAX_BYTES)
        except Invalid as error:
            raise ValidationError(error.fields) from None


def _usd_per_million(name: str, *, optional: bool = True, help_text: str = "") -> Any:
    # 100,000 USD per million tokens is over a hundred times the dearest model sold; more is a slip of the keyboard.
    return models.DecimalField(
        name,
        max_digits=16,
        decimal_places=8,
        null=optional,
        blank=optional,
        validators=[MinValueValidator(0), MaxValueValidator(100_000)],
        error_messages={
            "min_value": "A price can't be negative.",
            "max_value": "More than 100,000 USD per million tokens can't be right: check the decimal point.",
        },
        help_text=help_text,
    )


class Price(models.Model):
    """What a model costs from a moment on, in USD. Rows are only ever added; what was billed never changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="prices")
    valid_from = models.DateTimeField(default=timezone.now)
    input_per_million = _usd_per_million("input, USD per million tokens", optional=False)
    cached_input_per_million = _usd_per_million("cached input", help_text="Empty: as input.")
    cache_write_per_million = _usd_per_million("cache write", help_text="Empty: as input.")
    output_per_million = _usd_per_million("output, USD per million tokens", optional=False)
    per_request = models.DecimalField(
        max_digits=12,
        decimal_places=8,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(1_000)],
        error_messages={
            "min_value": "A price can't be negative.",
            "max_value": "More than 1,000 USD for a request can't be right: check the decimal point.",
        },
        help_text="USD for each request, on top of tokens.",
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    reason = models.CharField(max_length=200, blank=True, help_text="Why it changed; kept for the audit.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-valid_from", "-created_at"]
        indexes = [models.Index(fields=["model", "-valid_from"], name="price_model_valid_from")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(input_per_million__gte=0, output_per_million__gte=0, per_request__gte=0)
                & (models.Q(cached_input_per_million__isnull=True) | models.Q(cached_input_per_million__gte=0))
                & (models.Q(cache_write_per_million__isnull=True) | models.Q(cache_write_per_million__gte=0)),
                name="price_not_negative",
            )
        ]

    def __str__(self) -> str:
        return f"{plain_usd(self.input_per_million)} in, {plain_usd(self.output_per_million)} out"
