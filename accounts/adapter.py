"""Where django-allauth asks us: who may sign up, how a person is made, and how often a password may be tried."""

import logging
from smtplib import SMTPException
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.forms import BaseForm
from django.http import HttpRequest

from accounts import entrance, services
from accounts.errors import TooMany
from accounts.models import User
from accounts.peers import peer_of
from accounts.responses import too_many

logger = logging.getLogger(__name__)

# Without mail it can't be hidden that an address is known, because a new one is let in at once. It is said as softly as
# possible, and few tries are allowed.
EMAIL_TAKEN = "You can't sign up with this address. If it is yours, log in or reset your password."


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "This email address and password don't fit together.",
        "enter_current_password": "This is not your current password.",
        "email_taken": EMAIL_TAKEN,
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_ENABLED)

    def save_user(self, request: HttpRequest, user: User, form: BaseForm, **kwargs: Any) -> User:
        data = form.cleaned_data
        return services.sign_up(data["email"], password=data["password1"], name=data.get("name", ""))

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        email = credentials.get("email", "")
        try:
            attempt = entrance.admit_login(email, peer=peer_of(request))
        except TooMany as error:
            raise ImmediateHttpResponse(too_many(request, error)) from error
        user = super().authenticate(request, **credentials)
        if user is not None:
            attempt.succeeded()
        return user

    def get_client_ip(self, request: HttpRequest) -> str:
        return peer_of(request)

    def is_ajax(self, request: HttpRequest) -> bool:
        # The pages are for people; programs have the API. One way in is enough to guard.
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        if email.endswith(f"@{services.PLACEHOLDER_DOMAIN}"):
            return
        try:
            super().send_mail(template_prefix, email, context)
        except (SMTPException, OSError):
            # The page must look the same whether or not there was anything to send.
            logger.exception("A mail could not be sent. Check EMAIL_URL.")
