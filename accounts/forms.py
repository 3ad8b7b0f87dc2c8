"""The forms at the door and on the settings pages."""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from allauth.account import app_settings
from allauth.account import forms as allauth_forms
from allauth.account.internal.userkit import filter_users_by_email
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.hashers import make_password
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from accounts import entrance
from accounts.adapter import EMAIL_TAKEN
from accounts.errors import Conflict, Invalid, TooMany
from accounts.models import User
from accounts.peers import peer_of
from accounts.responses import too_many
from accounts.services import EMAIL_MAX_LENGTH, KEY_NAME_MAX_LENGTH, NAME_MAX_LENGTH, clean_line

PASSWORD_HELP: Final = "At least 8 characters, and nothing that others would guess first."  # noqa: S105 - a sentence


def check_line(text: str) -> None:
    """What the verbs say about a line of text, in a form's words."""
    try:
        clean_line(text, field="text", max_length=NAME_MAX_LENGTH)
    except Invalid as error:
        raise forms.ValidationError(error.message) from None


class LoginForm(allauth_forms.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].widget.attrs = {"type": "email", "autocomplete": "username", "autofocus": True}
        self.fields["password"].widget.attrs = {"autocomplete": "current-password"}
        self.fields["password"].help_text = ""

    @property
    def is_signup_open(self) -> bool:
        return bool(settings.SIGNUP_ENABLED)


class SignupForm(allauth_forms.SignupForm):
    name = forms.CharField(
        label="Name (optional)",
        max_length=NAME_MAX_LENGTH,
        required=False,
        validators=[check_line],
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    field_order = ["email", "name", "password1"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs = {"type": "email", "autocomplete": "username", "autofocus": True}
        self.fields["email"].validators.append(MaxLengthValidator(EMAIL_MAX_LENGTH))
        self.fields["password1"].widget.attrs = {"autocomplete": "new-password"}
        self.fields["password1"].help_text = PASSWORD_HELP

    @property
    def makes_superuser(self) -> bool:
        """Whether whoever fills this in will run the place."""
        return settings.FIRST_USER_IS_SUPERUSER and not User.objects.exists()

    def validate_unique_email(self, value: str) -> str:
        # Looked at in `clean`, once all else is right: else a bad password would make it a free oracle.
        return value

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if not self.errors:
            try:
                entrance.admit_sign_up(peer=peer_of(context.request))
            except TooMany as error:
                raise ImmediateHttpResponse(too_many(context.request, error)) from error
            if filter_users_by_email(data["email"]):
                self._meet_known_address()
        return data

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        if self.account_already_exists:
            # As long as making a person takes, so that the clock doesn't tell.
            make_password(self.cleaned_data["password1"])
        try:
            return super().try_save(request)
        except Conflict:
            # Someone took the address between the check and the insert.
            messages.error(request, EMAIL_TAKEN)
            return None, redirect("account_signup")

    def _meet_known_address(self) -> None:
        if app_settings.EMAIL_VERIFICATION == app_settings.EmailVerificationMethod.MANDATORY:
            # The page asks everyone to look into the mail; what the mail says only its reader knows.
            self.account_already_exists = True
        else:
            self.add_error("email", EMAIL_TAKEN)


class ChangePasswordForm(allauth_forms.ChangePasswordForm):
    password2 = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].label = "Current password"
        self.fields["oldpassword"].widget.attrs = {"autocomplete": "current-password", "autofocus": True}
        self.fields["oldpassword"].help_text = ""
        _ask_new_password(self.fields["password1"])


class ResetPasswordForm(allauth_forms.ResetPasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs = {"type": "email", "autocomplete": "username", "autofocus": True}
        self.fields["email"].help_text = "" if settings.IS_MAIL_CONFIGURED else _no_mail_help()

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email: str = self.cleaned_data["email"]
        # Beyond the limit nothing is sent, and the page says what it always says.
        if entrance.may_send_reset_mail(email, peer=peer_of(request)):
            super().save(request, **kwargs)
        return email


class ResetPasswordKeyForm(allauth_forms.ResetPasswordKeyForm):
    password2 = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ask_new_password(self.fields["password1"])
        self.fields["password1"].widget.attrs["autofocus"] = True


class ProfileForm(forms.Form):
    name = forms.CharField(
        max_length=NAME_MAX_LENGTH,
        required=False,
        help_text="Shown instead of your email address.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    theme = forms.ChoiceField(
        label="Appearance",
        choices=[("system", "As the device"), ("light", "Light"), ("dark", "Dark")],
    )
    enter_sends = forms.BooleanField(
        label="Enter sends the message",
        required=False,
        help_text="Shift and Enter always break the line. Without this, Ctrl or ⌘ with Enter sends.",
    )


class ApiKeyForm(forms.Form):
    name = forms.CharField(
        max_length=KEY_NAME_MAX_LENGTH,
        help_text="What will use it, for example «backup script».",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    expires = forms.TypedChoiceField(
        label="Expires",
        choices=[("", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year")],
        coerce=lambda days: timezone.now() + timedelta(days=int(days)),
        empty_value=None,
        required=False,
        initial="90",
    )
    # A form that is sent twice makes one key.
    client_id = forms.CharField(max_length=64, widget=forms.HiddenInput, initial=uuid4)


def _no_mail_help() -> str:
    if settings.IS_PRODUCTION:
        return "This server can't send mail. Ask the people who run it to set a new password for you."
    return "This server has no mail set up: the link appears in its console."


def _ask_new_password(field: forms.Field) -> None:
    field.label = "New password"
    field.widget.attrs = {"autocomplete": "new-password"}
    field.help_text = PASSWORD_HELP
