"""`manage.py create_user EMAIL --password P`: makes a person, and prints one JSON object for scripts."""

import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from accounts import services
from accounts.errors import DomainError, Invalid

PASSWORD_VARIABLE = "PARLEY_PASSWORD"  # noqa: S105 - the name of a variable


class Command(BaseCommand):
    help = "Makes a person and prints {id, email, is_staff, is_superuser, api_key?} as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--password", help=f"«-» reads one line from stdin. Default: ${PASSWORD_VARIABLE}.")
        parser.add_argument("--name", default="")
        parser.add_argument("--staff", action="store_true", help="May enter the admin.")
        parser.add_argument("--superuser", action="store_true", help="May do everything in the admin.")
        parser.add_argument("--api-key", metavar="NAME", help="Also make an API key of this name and print it.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        try:
            made = _create(options)
        except DomainError as error:
            self.stderr.write(json.dumps({"error": {"code": error.code, "message": error.message}}))
            sys.exit(1)
        self.stdout.write(json.dumps(made))


def _create(options: dict[str, Any]) -> dict[str, Any]:
    # One transaction, so that a key that can't be made leaves no person behind.
    with transaction.atomic():
        user = services.create_user(
            options["email"],
            password=_password(options["password"]),
            name=options["name"],
            is_staff=options["staff"],
            is_superuser=options["superuser"],
        )
        made = {
            "id": str(user.pk),
            "email": user.email,
            "is_staff": user.is_staff,
            "is_superuser": user.is_superuser,
        }
        if options["api_key"] is not None:
            made["api_key"] = services.create_api_key(user, name=options["api_key"])[1]
    return made


def _password(given: str | None) -> str:
    """The operator's choice. Its strength is the operator's affair; only none at all is refused."""
    password = sys.stdin.readline().rstrip("\n") if given == "-" else given or os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise Invalid(f"Give a password by --password, on stdin with --password -, or in ${PASSWORD_VARIABLE}.")
    return password
