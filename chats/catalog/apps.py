"""The application catalog; its label is fixed."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "chats.catalog"
    label = "catalog"
    default_auto_field = "django.db.models.BigAutoField"
