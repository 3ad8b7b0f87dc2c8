"""Who: the app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import api_schema, checks  # noqa: F401, PLC0415 - importing registers them; models must be loaded
