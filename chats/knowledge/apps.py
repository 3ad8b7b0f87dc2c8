"""The Django app of this room."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class KnowledgeConfig(AppConfig):
    name = "chats.knowledge"
    label = "knowledge"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_mend_full_text, sender=self)


def _mend_full_text(using: str, **_: Any) -> None:
    from chats.knowledge.full_text import mend_full_text  # noqa: PLC0415 - it needs the models

    mend_full_text(connections[using])
