"""McpServer: where tools come from. A person's own, or one that the operator has set up for many."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.catalog.encryption import EncryptedTextField
from chats.errors import Invalid
from chats.tools.addresses import check_url, host_of

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

    def with_sign_in_of(self, user: "User") -> Self:
        """Each with `.refusal`: None when this person has not signed in to it, else why that holds no longer, or ""."""
        mine = models.FilteredRelation("credentials", condition=models.Q(credentials__user=user))
        return self.annotate(mine=mine, refusal=models.F("mine__error_message"))

    def remote(self) -> Self:
        """All but the tools that Parley brings itself."""
        return self.exclude(transport=McpServer.Transport.BUILTIN)

    def with_counts(self) -> Self:
        """Each with `.tool_count`, of those it offers, and `.suspended_count`, of those that wait for acceptance."""
        offered = models.Q(tools__is_listed=True)
        return self.annotate(
            tool_count=models.Count("tools", filter=offered),
            suspended_count=models.Count("tools", filter=offered & models.Q(tools__changed__isnull=False)),
        )

    def without_secrets(self) -> Self:
        """For lists, which need not decrypt what they never show."""
        return self.defer("headers", "environment")


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
    asks_sign_in = models.BooleanField(
        default=False, editable=False, help_text="It lets only those in who have signed in to it, each for themselves."
    )
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

    tool_count: int  # of with_counts()
    suspended_count: int  # of with_counts()
    refusal: str | None  # of with_sign_in_of()

    objects: ClassVar[models.Manager["McpServer"]] = McpServerQuerySet.as_manager()

    class Meta:
        verbose_name = "MCP server"
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "prefix"], nulls_distinct=None, name="mcpserver_user_prefix_unique")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Whether what the operator has set up makes sense. What people set up goes through the verbs."""
        if self.is_shared and self.transport == self.Transport.HTTP:
            self._clean_http()
        elif self.is_shared and self.transport == self.Transport.STDIO:
            self._clean_stdio()

    @property
    def is_shared(self) -> bool:
        """Whether it is the operator's."""
        return self.user_id is None

    @property
    def is_builtin(self) -> bool:
        return self.transport == self.Transport.BUILTIN

    @property
    def host(self) -> str:
        """Where it is, without what may be secret in its address; "" where it has none."""
        return host_of(self.url)

    @property
    def is_signed_in(self) -> bool:
        """Whether the person of `with_sign_in_of()` is."""
        return self.refusal == ""

    @property
    def needs_sign_in(self) -> bool:
        """Whether that person has to, before they can use its tools."""
        return self.asks_sign_in and not self.is_signed_in

    @property
    def status_for_person(self) -> "McpServer.Status":
        """How it is for that person. Whether the operator's server lets in one says nothing about another."""
        if self.is_shared and self.needs_sign_in:
            return self.Status.SIGN_IN
        is_let_in = self.is_shared and self.is_signed_in and self.status == self.Status.SIGN_IN
        return self.Status.READY if is_let_in else self.Status(self.status)

    def note(self, status: "McpServer.Status", *, at: datetime, error_message: str = "") -> None:
        """Write down how a look at it went."""
        self.status, self.error_message, self.checked_at = status, error_message[:500], at
        self.save(update_fields=["status", "error_message", "checked_at"])

    def forget_look(self) -> None:
        """As if nobody had looked at it yet. Not stored."""
        self.status, self.error_message, self.checked_at = self.Status.UNTRIED, "", None
        self.about, self.notices, self.asks_sign_in = {}, [], False

    def _clean_http(self) -> None:
        if self.command.strip():
            raise ValidationError({"command": "A server over HTTP has no command. Leave it empty."})
        if not self.url.strip():
            raise ValidationError({"url": "A server over HTTP needs its address."})
        try:
            self.url = check_url(self.url, is_trusted=True)
        except Invalid as error:
            raise ValidationError(dict(error.fields)) from None

    def _clean_stdio(self) -> None:
        self.command = self.command.strip()
        if self.url.strip():
            raise ValidationError({"url": "A program has no address. Leave it empty."})
        if not self.command or not self.command.isprintable():
            raise ValidationError({"command": "Enter the program to start, on one line and without arguments."})
        is_list = isinstance(self.arguments, list) and all(isinstance(text, str) for text in self.arguments)
        if not is_list or any("\0" in text for text in self.arguments):
            raise ValidationError({"arguments": 'Enter a JSON list of texts, for example ["--root", "/srv/files"].'})
