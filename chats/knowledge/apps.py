"""The Django app of this room."""

from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "chats.knowledge"
    label = "knowledge"
    default_auto_field = "django.db.models.BigAutoField"
