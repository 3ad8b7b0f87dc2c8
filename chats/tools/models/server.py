"""McpServer: where tools come from. A person's own, or one that the operator has set up for many."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.catalog.encryption import EncryptedTextField

if TYPE_CHECKING:
    from accounts.models import User

NAME_MAX_LENGTH = 100
PREFIX_MAX_LENGTH = 20
URL_MAX_LENGTH = 2_000


class McpServerQuerySet(models.QuerySet["McpServer"]):
    def visible_to(self, user: "User") -> Self:
        """Their own servers, and those of the operator that are for everyone or for a group they are in."""
        # A subquery, as a join would show a server once for each group.
        for_all = models.Q(groups__isnull=True)
        shared = McpServer.objects.filter(for_all | models.Q(groups__user=user), user__isnull=True, enabled=True)
        return self.filter(models.Q(user=user) | models.Q(pk__in=shared.values("pk")))

    def editable_by(self, user: "User") -> Self:
        return self.filter(user=user)

    def remote(self) -> Self:
        """All but the tools that Parley brings itself."""
        return self.exclude(transport=McpServer.Transport.BUILTIN)


class McpServer(models.Model):
    # By its own name: for mypy `models` means Django's in here.
    class Transport(models.TextChoices):
        HTTP = "http", "streamable HTTP"
        STDIO = "stdio", "a program on this server (stdio)"
        BUILTIN = "builtin", "built in"

    class Status(models.TextChoices):
        UNTRIED = "untried", "not tried yet"
        READY = "ready", "ready"
        FAILED = "failed", "not reachable"
        SIGN_IN = "sign_in", "needs you to sign in"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="mcp_servers",
        help_text="Whose it is. Empty: the operator's, for everyone or for the groups below.",
    )
    groups = models.ManyToManyField(
        "auth.Group", blank=True, related_name="+", help_text="Who may use it. None chosen: everyone."
    )
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    prefix = models.CharField(
        max_length=PREFIX_MAX_LENGTH, editable=False, help_text="What the names of its tools begin with for a model."
    )
    transport = models.CharField(max_length=10, choices=Transport.choices, default=Transport.HTTP)
    url = models.CharField("URL", max_length=URL_MAX_LENGTH, blank=True, default="")
    headers = EncryptedTextField(
        blank=True, default="", help_text="JSON object of the headers sent to it. Stored encrypted and never shown."
    )
    command = models.CharField(max_length=500, blank=True, default="", help_text="The program, without arguments.")
    arguments = models.JSONField(default=list, blank=True, help_text="A list of texts; nothing in them is expanded.")
    environment = EncryptedTextField(
        blank=True, default="", help_text="JSON object of variables for the program. Stored encrypted and never shown."
    )
    enabled = models.BooleanField(default=True)
    call_seconds = models.PositiveSmallIntegerField(
        "seconds a call may take", null=True, blank=True, help_text="Empty: as the server is set (TOOL_CALL_SECONDS)."
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.UNTRIED, editable=False)
    error_message = models.CharField(max_length=500, blank=True, default="", editable=False)
    notices = models.JSONField(default=list, blank=True, editable=False, help_text="What was left out, and why.")
    about = models.JSONField(
        default=dict, blank=True, editable=False, help_text="What it says of itself: name, version, protocol."
    )
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["McpServer"]] = McpServerQuerySet.as_manager()

    class Meta:
        verbose_name = "MCP server"
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "prefix"], nulls_distinct=None, name="mcpserver_user_prefix_unique")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_shared(self) -> bool:
        """Whether it is the operator's."""
        return self.user_id is None

    def note(self, status: "McpServer.Status", *, at: datetime, error_message: str = "") -> None:
        """Write down how a look at it went."""
        self.status, self.error_message, self.checked_at = status, error_message[:500], at
        self.save(update_fields=["status", "error_message", "checked_at"])
