"""The Django app of this room."""

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    name = "chats.tools"
    label = "tools"
    default_auto_field = "django.db.models.BigAutoField"
