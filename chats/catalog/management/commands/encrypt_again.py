"""Encrypts all stored secrets with the first of ENCRYPTION_KEYS, so that the others can be taken away."""

import json
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import models, transaction

from chats.catalog.encryption import EncryptedTextField


class Command(BaseCommand):
    help = "Encrypt all stored secrets with the first of ENCRYPTION_KEYS. Prints how many there are, as JSON."

    def handle(self, **_: Any) -> None:
        done = unreadable = 0
        for model in apps.get_models():
            for field in model._meta.concrete_fields:
                if isinstance(field, EncryptedTextField):
                    kept, lost = _encrypt_again(model, field.name)
                    done, unreadable = done + kept, unreadable + lost
        self.stdout.write(json.dumps({"encrypted": done, "unreadable": unreadable}))


def _encrypt_again(model: type[models.Model], name: str) -> tuple[int, int]:
    """How many were, and how many no present key can read, which stay as they are."""
    done = unreadable = 0
    rows = model._default_manager.exclude(**{name: ""})
    for pk in rows.values_list("pk", flat=True).iterator():
        with transaction.atomic():
            row = model._default_manager.select_for_update().only(name).filter(pk=pk).first()
            if row is None:
                continue
            if getattr(row, name):
                row.save(update_fields=[name])
                done += 1
            else:
                unreadable += 1
    return done, unreadable
