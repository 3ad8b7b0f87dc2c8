"""Document: what a person has uploaded, in versions. The newest that could be read is the one that is searched."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Substr
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.cleaning import SPACE_MAX_LENGTH

if TYPE_CHECKING:
    from accounts.models import User

NAME_MAX_LENGTH = 200


class DocumentQuerySet(models.QuerySet["Document"]):
    def visible_to(self, user: "User") -> Self:
        """Documents this person may read. A deleted one reads as missing."""
        return self.filter(user=user, deleted_at__isnull=True)

    def editable_by(self, user: "User") -> Self:
        return self.visible_to(user)

    def of_chat(self, user_id: UUID, chat_id: UUID) -> Self:
        """Those that are this chat's alone, deleted ones among them."""
        return self.filter(user=user_id, chat=chat_id)

    def gone_for_good(self, undone_since: datetime) -> Self:
        """Deleted ones that nothing brings back: those that went with their chat, if that was before `undone_since`."""
        is_over = models.Q(chat__isnull=True) | models.Q(deleted_at__lt=undone_since)
        return self.filter(is_over, deleted_at__isnull=False)

    def whose_newest_is(self, status: str) -> Self:
        """Those whose version uploaded last has this status."""
        last = DocumentVersion.objects.filter(document=models.OuterRef("pk")).order_by("-number").values("status")[:1]
        return self.annotate(newest_status=models.Subquery(last)).filter(newest_status=status)

    def with_newest(self) -> Self:
        """Each with `.newest`, which is the version uploaded last: a list of one."""
        last = DocumentVersion.objects.filter(document=models.OuterRef("document")).order_by("-number").values("pk")[:1]
        newest = DocumentVersion.objects.filter(pk=models.Subquery(last))
        return self.prefetch_related(models.Prefetch("versions", queryset=newest, to_attr="newest"))


class Document(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="documents")
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    space = models.CharField(
        max_length=SPACE_MAX_LENGTH, blank=True, default="", help_text="Searched in chats of this space; empty: in all."
    )
    # No foreign key: chats are a room above this one.
    chat = models.UUIDField(null=True, blank=True, help_text="Searched in this chat only; empty: in all of the space.")
    current = models.ForeignKey(
        "knowledge.DocumentVersion",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The version that is searched.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    newest: list["DocumentVersion"]  # of with_newest()

    objects: ClassVar[models.Manager["Document"]] = DocumentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["user", "-created_at", "-id"],
                condition=models.Q(deleted_at__isnull=True),
                name="document_user_created_at",
            ),
            models.Index(
                fields=["deleted_at"], condition=models.Q(deleted_at__isnull=False), name="document_deleted_at"
            ),
        ]

    def __str__(self) -> str:
        return self.name


def place_of_file(_version: "DocumentVersion", _name: str) -> str:
    """Where a file is put: under a name of ours, which says nothing of its person or its content."""
    key = uuid7().hex
    return f"documents/{key[-2:]}/{key}"


_UNFINISHED = "knowledge_documentversion.status IN ('pending', 'indexing')"


class DocumentVersionQuerySet(models.QuerySet["DocumentVersion"]):
    def waiting(self, stale_before: datetime | Combinable) -> Self:
        """Versions to be indexed, and those whose worker has not been heard of since `stale_before`."""
        abandoned = models.Q(status=DocumentVersion.Status.INDEXING, heartbeat_at__lt=stale_before)
        pending = models.Q(status=DocumentVersion.Status.PENDING)
        # In the words of the index, or SQLite does not see that it may use it.
        unfinished = RawSQL(_UNFINISHED, [], output_field=models.BooleanField())  # noqa: S611 - a constant
        return self.filter(unfinished, pending | abandoned, document__deleted_at__isnull=True)

    def lacking_vectors(self) -> Self:
        """Those that are searched, and of which a wanted embedder has not made all vectors yet."""
        return self.searched().filter(lacks_vectors=True)

    def searched(self) -> Self:
        """The current versions of documents."""
        return self.filter(document__current=models.F("pk"), document__deleted_at__isnull=True)

    def held_by(self, worker: str, attempt: int) -> Self:
        """The row as long as this worker still holds it."""
        return self.filter(status=DocumentVersion.Status.INDEXING, worker=worker, attempt=attempt)


class DocumentVersion(models.Model):
    class Status(models.TextChoices):
        PENDING = "pending", "pending"
        INDEXING = "indexing", "indexing"
        READY = "ready", "ready"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    file = models.FileField(upload_to=place_of_file, max_length=200)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64)
    kind = models.CharField(max_length=20, blank=True, default="", help_text="What its content is; empty until read.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    error_code = models.CharField(max_length=50, blank=True, default="")
    error_message = models.CharField(max_length=500, blank=True, default="")
    pages = models.PositiveIntegerField(null=True, blank=True)
    characters = models.PositiveIntegerField(null=True, blank=True)
    chunk_count = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(
        default=0, help_text="Of `total`, how much is read: pages, or parts of the text."
    )
    total = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=100, blank=True, default="")
    attempt = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    indexed_at = models.DateTimeField(null=True, blank=True)
    lacks_vectors = models.BooleanField(
        default=False, db_default=False, help_text="Ready, but not all of its chunks have a vector of each embedder."
    )

    has_leftovers = models.BooleanField(
        default=False, db_default=False, help_text="It is not searched any more, and has chunks that are to go."
    )

    objects: ClassVar[models.Manager["DocumentVersion"]] = DocumentVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["document", "number"], name="documentversion_document_number_unique")
        ]
        indexes = [
            models.Index(fields=["sha256"], name="documentversion_sha256"),
            # What waits or is under way: few rows, however many there are.
            models.Index(
                fields=["created_at"],
                condition=models.Q(status__in=["pending", "indexing"]),
                name="documentversion_unfinished",
            ),
            models.Index(fields=["id"], condition=models.Q(has_leftovers=True), name="documentversion_has_leftovers"),
            models.Index(fields=["id"], condition=models.Q(lacks_vectors=True), name="documentversion_lacks_vectors"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}, version {self.number}"

    @property
    def is_finished(self) -> bool:
        return self.status in {self.Status.READY, self.Status.FAILED}

    @property
    def percent(self) -> int:
        """How much of it is read, from 0 to 100."""
        return min(100, self.done * 100 // self.total) if self.total else 0


class DocumentTextQuerySet(models.QuerySet["DocumentText"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(version__document__user=user, version__document__deleted_at__isnull=True)

    def part(self, version: DocumentVersion, *, start: int, length: int) -> str:
        """So many characters of a version's text from `start` on; "" where there are none."""
        cut = Substr("text", start + 1, length)
        return next(iter(self.filter(version=version).values_list(cut, flat=True)), "")


class DocumentText(models.Model):
    """What was read of a version, aside, so that lists don't load it. It outlives the chunks, for citations."""

    version = models.OneToOneField(
        DocumentVersion, on_delete=models.CASCADE, primary_key=True, related_name="extracted"
    )
    text = models.TextField()
    page_starts = models.JSONField(default=list, help_text="Where each page begins, in characters; empty: no pages.")

    objects: ClassVar[models.Manager["DocumentText"]] = DocumentTextQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Text of {self.version_id}"
