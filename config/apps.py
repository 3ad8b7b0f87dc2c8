"""Makes the wiring an app, so that its checks run at every start."""

from django.apps import AppConfig


class WiringConfig(AppConfig):
    name = "config"
    verbose_name = "wiring"

    def ready(self) -> None:
        from config import checks  # noqa: F401, PLC0415 - checks register themselves, once the apps are loaded
