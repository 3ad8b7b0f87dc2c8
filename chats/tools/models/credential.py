"""Credential: what lets Parley act for one person at one server; and SignIn: the way to one, for ten minutes."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone

from chats.catalog.encryption import EncryptedTextField
from chats.tools.models.server import McpServer
from chats.tools.oauth.values import Bearer, Grant

if TYPE_CHECKING:
    from accounts.models import User

ORIGIN_MAX_LENGTH = 300
# Tokens are refreshed so long before they end, or for the last fifth of a short life.
MARGIN = timedelta(seconds=60)


class CredentialQuerySet(models.QuerySet["Credential"]):
    def visible_to(self, user: "User") -> Self:
        return self.filter(user=user)

    def editable_by(self, user: "User") -> Self:
        return self.filter(user=user)


class Credential(models.Model):
    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="credentials")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    origin = models.CharField(
        max_length=ORIGIN_MAX_LENGTH, help_text="Where the server was when its person signed in: for nobody else."
    )
    secrets = EncryptedTextField(help_text="JSON of the client, the tokens, and where they are refreshed.")
    scope = models.TextField(blank=True, default="", help_text="What was allowed.")
    wanted_scope = models.TextField(blank=True, default="", help_text="What the server has missed in it.")
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Of the access token. Empty: not said.")
    version = models.PositiveIntegerField(default=1, help_text="Counts the tokens there were.")
    refreshing_until = models.DateTimeField(
        null=True, blank=True, help_text="Somebody refreshes the token, and has so long for it."
    )
    refresh_failed_at = models.DateTimeField(null=True, blank=True, help_text="The issuer could not be asked.")
    error_message = models.CharField(
        max_length=500, blank=True, default="", help_text="Why its person has to sign in again."
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager["Credential"]] = CredentialQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["server", "user"], name="credential_server_user_unique")]

    def __str__(self) -> str:
        return f"{self.user_id} at {self.server_id}"

    @property
    def grant(self) -> Grant | None:
        return Grant.unpack(self.secrets)

    @property
    def stale_at(self) -> datetime | None:
        """When the access token is to be refreshed."""
        if self.expires_at is None:
            return None
        return self.expires_at - min(MARGIN, (self.expires_at - self.issued_at) / 5)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def bearer(self, grant: Grant) -> Bearer:
        return Bearer(grant.access_token, self.version, self.origin, self.stale_at)


class SignIn(models.Model):
    """A person was sent away to sign in, and is to come back in the same session, once."""

    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="sign_ins")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    state_hash = models.CharField(max_length=64)
    nonce_hash = models.CharField(max_length=64, help_text="Of what only the session knows that began it.")
    secrets = EncryptedTextField(help_text="JSON of the issuer, the client and the verifier.")
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["state_hash"], name="signin_state_hash_unique")]
        indexes = [models.Index(fields=["created_at"], name="signin_created_at")]

    def __str__(self) -> str:
        return f"{self.user_id} at {self.server_id}"
