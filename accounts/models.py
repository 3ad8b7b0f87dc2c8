"""People and the ways they are recognised."""

import hashlib
import secrets
from datetime import datetime
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from uuid_utils.compat import uuid7


class UserManager(BaseUserManager["User"]):
    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Addresses are kept in lower case: nobody tells two people apart by capitals."""
        return (email or "").strip().lower()

    def get_by_natural_key(self, email: str | None) -> "User":
        """The user of this address, however it is capitalised. Raises User.DoesNotExist."""
        return self.get(email__iexact=email)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField("email address", max_length=254)
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField("staff", default=False, help_text="May enter the admin.")
    is_active = models.BooleanField(
        "active", default=True, help_text="Untick to shut this person out at once, on every device and with every key."
    )
    preferences = models.JSONField(default=dict, blank=True, help_text="Chosen on the settings page.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"), name="user_email_unique", violation_error_message="This address is already in use."
            )
        ]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.partition("@")[0]


class FirstUser(models.Model):
    """The claim to be the first person here. The only possible key is 1, so the database lets one claim win."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    user = models.OneToOneField(User, on_delete=models.CASCADE)
    claimed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="first_user_only_one")]

    def __str__(self) -> str:
        return str(self.user)


class Identity(models.Model):
    """A person as an OIDC issuer names them. The pair (issuer, subject) is the identity; an email never is."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_issuer_subject_unique")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def visible_to(self, user: User) -> Self:
        return self.filter(user=user)

    def editable_by(self, user: User) -> Self:
        return self.visible_to(user)

    def usable(self, when: datetime) -> Self:
        """Keys that open the door at `when`: not revoked, not expired, of an active person."""
        unexpired = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=when)
        return self.filter(unexpired, revoked_at__isnull=True, user__is_active=True)

    def of_secret(self, secret: str) -> Self:
        return self.filter(digest=ApiKey.digest_of(secret))


class ApiKey(models.Model):
    """A personal key for programs. Only a digest is stored; the secret is shown once."""

    PREFIX: ClassVar[str] = "parley_"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    hint = models.CharField(max_length=16, editable=False, help_text="The first characters, to recognise it by.")
    digest = models.CharField(max_length=64, editable=False)
    client_id = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001 - NULL may repeat under the unique constraint, "" may not
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ApiKey"]] = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["digest"], name="apikey_digest_unique"),
            models.UniqueConstraint(fields=["user", "client_id"], name="apikey_user_client_id_unique"),
        ]
        indexes = [
            # For forgetting: it holds the rows of two days, however many there are.
            models.Index(
                fields=["created_at"], condition=models.Q(client_id__isnull=False), name="apikey_client_id_created_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @staticmethod
    def digest_of(secret: str) -> str:
        # The secret has 256 random bits, so a plain hash can't be searched backwards.
        return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

    @classmethod
    def new_secret(cls) -> str:
        return cls.PREFIX + secrets.token_urlsafe(32)

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
