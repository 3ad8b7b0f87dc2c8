"""How a test walks through the doors: one line a step."""

from django.http import HttpResponse
from django.test import Client

LOGIN = "/accounts/login/"
SIGN_UP = "/accounts/signup/"
RESET = "/accounts/password/reset/"
CHANGE = "/accounts/password/change/"
GOOD = "a long enough secret"


def log_in(email: str, password: str, *, client: Client | None = None, **extra: str) -> HttpResponse:
    return (client or Client()).post(LOGIN, {"login": email, "password": password}, **extra)


def sign_up(email: str, password: str = GOOD, *, client: Client | None = None, **data: str) -> HttpResponse:
    return (client or Client()).post(SIGN_UP, {"email": email, "password1": password, **data})


def is_logged_in(client: Client) -> bool:
    return client.get("/settings/").status_code == 200
