"""People and their credentials in the admin. Secrets are never here: only digests are stored, and not even those shown.

Nobody hands out more than she holds: only superusers say who is staff or superuser, and touch other superusers.
"""

from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin
from django.contrib.auth import forms as auth_forms
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import services
from accounts.columns import moment
from accounts.lookups import CarefulLookups
from accounts.models import ApiKey, Identity, User

# The same door, limits and words as for everyone else.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# `User.email` is the one address; allauth's rows about it are kept by `services.vouch_for_email`.
admin.site.unregister(EmailAddress)
admin.site.unregister(Group)

GRANTING_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


class _LowerCaseEmail:
    cleaned_data: dict[str, Any]

    def clean_email(self) -> str:
        return User.objects.normalize_email(self.cleaned_data["email"])


class UserAddForm(_LowerCaseEmail, auth_forms.AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class UserChangeForm(_LowerCaseEmail, auth_forms.UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"
        field_classes = {"email": forms.EmailField}


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ApiKeyInline(ReadOnlyInline):
    model = ApiKey
    fields = readonly_fields = ("name", "hint", "created_at", "last_used_at", "expires_at", "revoked_at")
    verbose_name_plural = "API keys (open one to revoke it)"


class IdentityInline(admin.TabularInline):
    model = Identity
    extra = 0
    fields = ("issuer", "subject", "created_at")
    readonly_fields = ("created_at",)


@admin.register(User)
class UserAdmin(CarefulLookups, auth_admin.UserAdmin):
    form = UserChangeForm
    add_form = UserAddForm
    ordering = ("-created_at",)
    list_display = ("email", "name", "is_staff", "is_active", moment("created_at"), moment("last_login"))
    list_filter = ("is_active", "is_staff", "is_superuser", "groups", "created_at")
    search_fields = ("email", "name", "identities__subject")
    readonly_fields = ("created_at", "last_login")
    inlines = (ApiKeyInline, IdentityInline)
    actions = ("confirm_addresses",)
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Access", {"fields": ("is_active", *GRANTING_FIELDS)}),
        ("Preferences", {"fields": ("preferences",), "classes": ("collapse",)}),
        ("Moments", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *GRANTING_FIELDS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The people, and how much goes with them. Django's own would load each of their rows to list it."""
        people = [obj.pk for obj in objs]
        counts = {
            str(relation.related_model._meta.verbose_name_plural): count
            for relation in User._meta.related_objects
            if relation.on_delete is models.CASCADE
            and (count := relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": people}).count())
        }
        refused = {"user"} if any(not self.has_delete_permission(request, obj) for obj in objs) else set()
        return [str(obj) for obj in objs], {"users": len(people)} | counts, refused, []

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            services.vouch_for_email(obj)

    @admin.action(description="Confirm the addresses of the selected people", permissions=["change"])
    def confirm_addresses(self, request: HttpRequest, people: QuerySet[User]) -> None:
        allowed = [user for user in people if _may_touch(request, user)]
        for user in allowed:
            services.vouch_for_email(user)
        self.message_user(request, f"{len(allowed)} confirmed.", messages.SUCCESS)


@admin.register(Group)
class GroupAdmin(CarefulLookups, auth_admin.GroupAdmin):
    pass


@admin.register(ApiKey)
class ApiKeyAdmin(CarefulLookups):
    list_display = ("name", "hint", "user", moment("last_used_at"), moment("expires_at"), moment("revoked_at"))
    list_filter = ("revoked_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("name", "hint", "user__email")
    fields = readonly_fields = ("name", "hint", "user", "created_at", "last_used_at", "expires_at", "revoked_at")
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys:
            services.revoke_api_key(key)
        self.message_user(request, "The selected keys are revoked.", messages.SUCCESS)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return user is None or not user.is_superuser or request.user.is_superuser
