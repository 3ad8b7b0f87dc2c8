"""Reads settings from the environment. What can't be read stops nobody here: `config.checks` says it with a hint."""

import math
from typing import Any

import environ

YES = {"true", "1", "yes", "on", "y", "t"}
NO = {"false", "0", "no", "off", "n", "f"}
DATABASES = {
    **dict.fromkeys(("postgres", "postgresql", "postgresql+psycopg", "psql", "pgsql"), "postgresql"),
    "sqlite": "sqlite",
}
# Every query fails: nobody shall work on another database than the one that was meant.
NO_DATABASE = {"ENGINE": "django.db.backends.dummy"}
NO_MAIL = "dummymail://"


class Environment(environ.Env):
    """`unreadable`: by name, what is wrong with a setting, and what to write instead. It never quotes an address."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: dict[str, tuple[str, str]] = {}

    def bool(self, var: str, default: Any = False) -> bool:
        text = self.str(var, default="").strip()
        if text.lower() in YES | NO:
            return text.lower() in YES
        if text:
            self.unreadable[var] = f"{text[:40]!r}, which is neither true nor false", "Write true or false."
        return bool(default)

    def int(self, var: str, default: Any = 0) -> Any:
        return self._number(var, int, default, "a whole number")

    def float(self, var: str, default: Any = 0) -> Any:
        return self._number(var, float, default, "a number")

    def database(self, var: str, default: str) -> dict[str, Any]:
        """What Django's DATABASES wants for the address in `var`."""
        url = self.str(var, default="") or default
        kind = DATABASES.get(url.partition(":")[0].lower())
        try:
            found: dict[str, Any] = self.db_url_config(f"{kind}:{url.partition(':')[2]}") if kind else {}
        except ValueError:
            found = {}
        if found.get("NAME") or "service" in found.get("OPTIONS", {}):
            return found
        hint = "Write postgresql://USER:PASSWORD@HOST/NAME or sqlite:////absolute/path, or remove it."
        self.unreadable[var] = "not a PostgreSQL or SQLite address", hint
        return dict(NO_DATABASE)

    def mail(self, var: str, default: str) -> dict[str, Any]:
        """Settings of Django's for the mail server in `var`."""
        try:
            found: dict[str, Any] = self.email_url_config(self.str(var, default="") or default)
        except (environ.ImproperlyConfigured, ValueError):
            hint = "Write smtp+tls://USER:PASSWORD@HOST:587, or remove it to send no mail."
            self.unreadable[var] = "not the address of a mail server", hint
            found = self.email_url_config(NO_MAIL)
        return found

    def _number(self, var: str, kind: Any, default: Any, name: str) -> Any:
        text = self.str(var, default="").strip()
        try:
            number = kind(text or default)
            if not math.isfinite(number):
                raise ValueError
        except ValueError:
            self.unreadable[var] = f"{text[:40]!r}, which is not {name}", "See .env.example for what it means."
            return default
        return number
