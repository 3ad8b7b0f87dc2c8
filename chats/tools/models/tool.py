"""Tool: what a server offers, pinned as its person has seen it; and what each person lets it do."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from chats.tools.models.server import McpServer

if TYPE_CHECKING:
    from accounts.models import User

# What providers take for the name of a function.
CALLED_MAX_LENGTH = 64


class ToolQuerySet(models.QuerySet["Tool"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(server__in=McpServer.objects.visible_to(user))

    def editable_by(self, user: "User") -> Self:
        """Those about which this person may decide for themselves, which is all they see."""
        return self.visible_to(user)

    def usable(self) -> Self:
        """Those that can be called, if their people let them."""
        return self.filter(server__enabled=True, is_listed=True, changed__isnull=True, problem="")

    def with_choice_of(self, user: "User") -> Self:
        """Each with `.chosen`: the policy this person has chosen, or None."""
        mine = ToolChoice.objects.filter(user=user, tool=models.OuterRef("pk")).values("policy")[:1]
        return self.annotate(chosen=models.Subquery(mine))


class Tool(models.Model):
    class Policy(models.TextChoices):
        ALLOW = "allow", "allow"
        ASK = "ask", "ask each time"
        DENY = "deny", "deny"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=200, help_text="As its server calls it.")
    called = models.CharField(max_length=CALLED_MAX_LENGTH, help_text="As models call it, with the server's prefix.")
    title = models.CharField(max_length=200, blank=True, default="")
    description = models.TextField(blank=True, default="")
    input_schema = models.JSONField(default=dict)
    annotations = models.JSONField(default=dict, blank=True, help_text="What the server says of it. Its word only.")
    is_read_only = models.BooleanField(default=False, help_text="It changes nothing, as far as its server tells.")
    pinned_hash = models.CharField(
        max_length=64, help_text="Of all above, as it was when it was first seen or accepted."
    )
    changed = models.JSONField(
        null=True, blank=True, help_text="What the server offers now instead. Until it is accepted, nobody can call it."
    )
    policy = models.CharField(
        max_length=10,
        choices=Policy.choices,
        blank=True,
        default="",
        help_text="The operator's: a denied tool is off for everyone. Empty: allow what only reads, ask for the rest.",
    )
    problem = models.CharField(max_length=200, blank=True, default="", help_text="Why it can't be offered.")
    is_listed = models.BooleanField(default=True, help_text="Its server offered it when it was last asked.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    chosen: str | None  # of with_choice_of()

    objects: ClassVar[models.Manager["Tool"]] = ToolQuerySet.as_manager()

    class Meta:
        ordering = ["server", "name"]
        constraints = [models.UniqueConstraint(fields=["server", "name"], name="tool_server_name_unique")]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def is_suspended(self) -> bool:
        """Whether it is another tool by now than the one that was accepted."""
        return self.changed is not None

    @property
    def is_usable(self) -> bool:
        return self.is_listed and not self.is_suspended and not self.problem

    @property
    def default_policy(self) -> "Tool.Policy":
        return self.Policy.ALLOW if self.is_read_only else self.Policy.ASK

    @property
    def policy_chosen(self) -> "Tool.Policy":
        """What holds for the person of `with_choice_of()`. The operator's «deny» nobody can lift."""
        if self.policy == self.Policy.DENY:
            return self.Policy.DENY
        chosen = self.chosen or self.policy
        return self.Policy(chosen) if chosen else self.default_policy


class ToolChoice(models.Model):
    """What one person lets one tool do."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="choices")
    policy = models.CharField(max_length=10, choices=Tool.Policy.choices)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "tool"], name="toolchoice_user_tool_unique")]

    def __str__(self) -> str:
        return f"{self.tool}: {self.policy}"
