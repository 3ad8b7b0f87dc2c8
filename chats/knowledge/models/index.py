"""What is searched: parts of documents, their terms, and their vectors by each embedder.

Rows of a version are written in many small transactions and count from the one that makes it `Document.current`.
"""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from chats.catalog.models import AIModel, Provider
from chats.knowledge.models.document import DocumentVersion
from chats.knowledge.models.fields import TermsField, VectorsField

HEADING_MAX_LENGTH = 200
PREFIX_MAX_LENGTH = 500


class Chunk(models.Model):
    """A part of a version's text. Whose it is stands here too: no search reads more than one person's rows."""

    # A whole number, as FTS5 knows a row by nothing else.
    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(DocumentVersion, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    index = models.PositiveIntegerField(help_text="Its place among the chunks of its version, from 0.")
    start = models.PositiveIntegerField(help_text="Characters into the text of the version.")
    end = models.PositiveIntegerField()
    page = models.PositiveIntegerField(null=True, help_text="From 1; empty: no pages.")
    heading = models.CharField(max_length=HEADING_MAX_LENGTH, blank=True, default="")
    text = models.TextField()
    terms = TermsField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "index"], name="chunk_version_index_unique")]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.start} to {self.end}"


def _prefix(name: str) -> Any:
    return models.CharField(name, max_length=PREFIX_MAX_LENGTH, blank=True, default="", db_default="")


class EmbedderQuerySet(models.QuerySet["Embedder"]):
    def wanted(self) -> Self:
        """Those that new documents need vectors of: the one that is asked, and the one that will be."""
        return self.filter(state__in=[Embedder.State.ACTIVE, Embedder.State.PREPARING])

    def retire(self) -> int:
        """Have their vectors thrown away. Returns how many there were."""
        return self.update(state=Embedder.State.RETIRED, retired_at=Now())


class Embedder(models.Model):
    """What makes vectors of texts. One is asked by searches; another may be preparing to take its place.

    What vectors depend on stands here and never changes: another model, setting or prefix is another embedder.
    """

    class Kind(models.TextChoices):
        BUILTIN = "builtin", "Built in"
        MINILM = "minilm", "all-MiniLM-L6-v2, installed on the servers"
        PROVIDER = "provider", "A provider's /embeddings"

    class State(models.TextChoices):
        PREPARING = "preparing", "preparing: documents are read into it"
        ACTIVE = "active", "active: searches ask it"
        RETIRED = "retired", "retired: its vectors are thrown away"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    ai_model = models.ForeignKey(
        AIModel, verbose_name="AI model", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    model_id = models.CharField("model id", max_length=200, blank=True, default="")
    settings = models.JSONField(default=dict, db_default={}, blank=True, help_text="Sent with every request.")
    query_prefix = _prefix("before every question")
    text_prefix = _prefix("before every text")
    dimensions = models.PositiveIntegerField()
    state = models.CharField(max_length=20, choices=State.choices, default=State.PREPARING)
    error = models.CharField(
        max_length=1_000, blank=True, default="", db_default="", help_text="Why it could not be asked last time."
    )
    worker = models.CharField(max_length=100, blank=True, default="", db_default="")
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True, help_text="When another took over, or it was given up.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[EmbedderQuerySet] = EmbedderQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="active"), name="embedder_one_is_active"
            ),
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="preparing"), name="embedder_one_is_preparing"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} ({self.provider})" if self.kind == self.Kind.PROVIDER else self.get_kind_display()


class Embedding(models.Model):
    """The vectors of `count` chunks of a version, from the one at `first` on: one with pgvector, else many together."""

    id = models.BigAutoField(primary_key=True)
    embedder = models.ForeignKey(Embedder, on_delete=models.CASCADE, related_name="embeddings", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey(DocumentVersion, on_delete=models.CASCADE, related_name="embeddings", db_index=False)
    first = models.PositiveIntegerField()
    count = models.PositiveIntegerField(default=1)
    dimensions = models.PositiveIntegerField()
    vectors = VectorsField()

    objects: ClassVar[models.Manager["Embedding"]]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version", "embedder", "first"], name="embedding_version_embedder_first_unique"
            )
        ]
        indexes = [models.Index(fields=["embedder", "user"], name="embedding_embedder_user")]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.count} from {self.first}"
