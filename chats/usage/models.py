"""UsageRecord: one row a provider call, written once."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.catalog.models import AIModel, Price
from chats.models import Chat, Message, Reply

if TYPE_CHECKING:
    from accounts.models import User


class UsageRecordQuerySet(models.QuerySet["UsageRecord"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(user=user)


class UsageRecord(models.Model):
    """What one call used and cost. Names are copied: deleting a chat or a model never changes the ledger."""

    class Purpose(models.TextChoices):
        ANSWER = "answer", "answer"
        TITLE = "title", "title"
        EMBEDDING = "embedding", "embedding"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.SET_NULL, null=True, related_name="+")
    message = models.ForeignKey(Message, on_delete=models.SET_NULL, null=True, related_name="usage_records")
    reply = models.ForeignKey(Reply, on_delete=models.SET_NULL, null=True, related_name="usage_records")
    attempt = models.PositiveSmallIntegerField(default=1)
    purpose = models.CharField(max_length=20, choices=Purpose.choices, default=Purpose.ANSWER)
    model = models.ForeignKey(AIModel, on_delete=models.SET_NULL, null=True, related_name="+")
    price = models.ForeignKey(Price, on_delete=models.SET_NULL, null=True, related_name="+")
    user_email = models.CharField(max_length=254)
    provider_name = models.CharField(max_length=100)
    model_name = models.CharField(max_length=200)
    input_tokens = models.PositiveBigIntegerField(default=0, help_text="All input, cached included.")
    cached_input_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0, help_text="All output, reasoning included.")
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(
        max_digits=24, decimal_places=14, null=True, help_text="USD. Empty: the price was unknown, which is not free."
    )
    is_estimated = models.BooleanField(default=False, help_text="The provider sent no usage; tokens were counted here.")
    raw_usage = models.JSONField(default=dict, help_text="As the provider sent it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["UsageRecord"]] = UsageRecordQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["message", "attempt", "purpose"], name="usagerecord_message_attempt_once")
        ]
        indexes = [models.Index(fields=["user", "-created_at"], name="usagerecord_user_created_at")]

    def __str__(self) -> str:
        return f"{self.model_name}: {self.input_tokens} in, {self.output_tokens} out"
