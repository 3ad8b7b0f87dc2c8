"""A person's own settings: profile, and the keys of her programs. The password's page is django-allauth's."""

from typing import cast
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache

from accounts import services
from accounts.errors import DomainError, TooMany
from accounts.forms import ApiKeyForm, ProfileForm
from accounts.models import ApiKey, User
from accounts.responses import too_many

THEME_COOKIE = "theme"
PREFERENCE_DEFAULTS = {"theme": "system", "enter_sends": True}
KEYS_SHOWN = 100


@never_cache
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    form = ProfileForm(request.POST or None, initial={**PREFERENCE_DEFAULTS, **user.preferences, "name": user.name})
    if not form.is_valid():
        return render(request, "accounts/profile.html", {"form": form})
    try:
        _save_profile(user, form)
    except DomainError as error:
        _show_error(form, error)
        return render(request, "accounts/profile.html", {"form": form})
    messages.success(request, "Your settings are saved.")
    response = redirect("accounts:profile")
    # What this browser was told once must not outvote what was just chosen for all.
    response.delete_cookie(THEME_COOKIE)
    return response


@never_cache
@login_required
def keys(request: HttpRequest) -> HttpResponse:
    """The list, and the one moment at which a new key is shown."""
    form = ApiKeyForm(request.POST or None)
    made: ApiKey | None = None
    secret = ""
    if form.is_valid():
        try:
            made, secret = services.create_api_key(
                _person(request),
                name=form.cleaned_data["name"],
                expires_at=form.cleaned_data["expires"],
                client_id=form.cleaned_data["client_id"],
            )
            form = ApiKeyForm()
        except TooMany as error:
            return too_many(request, error)
        except DomainError as error:
            _show_error(form, error)
    context = {
        "form": form,
        "made": made,
        "secret": secret,
        "keys": ApiKey.objects.visible_to(_person(request))[:KEYS_SHOWN],
        "limit": settings.API_KEYS_PER_USER,
        "now": timezone.now(),
    }
    return render(request, "accounts/keys.html", context)


@never_cache
@login_required
def revoke_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Asks first; a revoked key can't be brought back."""
    key = get_object_or_404(ApiKey.objects.editable_by(_person(request)), pk=key_id)
    if request.method != "POST":
        return render(request, "accounts/revoke_key.html", {"key": key})
    services.revoke_api_key(key)
    messages.success(request, f"The key «{key.name}» is revoked. Nothing can use it any more.")
    return redirect("accounts:keys")


def _person(request: HttpRequest) -> User:
    """Who asks, behind `login_required`."""
    return cast(User, request.user)


def _save_profile(user: User, form: ProfileForm) -> None:
    data = form.cleaned_data
    preferences = {"theme": data["theme"], "enter_sends": data["enter_sends"]}
    services.update_profile(user, name=data["name"], preferences=preferences)


def _show_error(form: Form, error: DomainError) -> None:
    for name, texts in error.fields.items():
        form.add_error(name if name in form.fields else None, texts)
    if not error.fields:
        form.add_error(None, error.message)
