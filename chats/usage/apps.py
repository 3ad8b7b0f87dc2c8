"""The Django app of this room."""

from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "chats.usage"
    label = "usage"
    default_auto_field = "django.db.models.BigAutoField"
