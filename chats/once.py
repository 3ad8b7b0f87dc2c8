"""Requests that may come twice: the id under which a client sends one, and the digest that tells its body from another.

Who makes something remembers both: the same id gives the same answer again, with another body it is a conflict. After
CLIENT_ID_MEMORY_SECONDS the id is forgotten, and makes something new.
"""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey
from chats.cleaning import clean_text
from chats.models import Chat, Reply

# What is made under a client_id. Each has an index of the moments of those rows that still have theirs.
REMEMBERING = (Reply, Chat, ApiKey)
FORGOTTEN_AT_ONCE = 500


def digest_of(verb: str, *, subject: UUID | None, content: str | None = None, model: str | None = None) -> str:
    """SHA-256 of what is asked: to do `verb` to the row `subject`. Texts that are stored alike are asked alike."""
    body = [verb, str(subject), clean_text(content or "").encode().hex(), model and clean_text(model)]
    return hashlib.sha256(orjson.dumps(body)).hexdigest()


def forget_client_ids() -> bool:
    """Take the client_id, and nothing else, from rows that are older than is promised; no more than a batch of a kind.

    Returns whether there may be more of them.
    """
    before = timezone.now() - timedelta(seconds=settings.CLIENT_ID_MEMORY_SECONDS)
    return any(_forget_batch(model, before) for model in REMEMBERING)


def _forget_batch(model: type[Reply | Chat | ApiKey], before: datetime) -> bool:
    old = model.objects.filter(client_id__isnull=False, created_at__lt=before).order_by("created_at")
    # Mostly there is none, and to see that takes no lock.
    if not old.exists():
        return False
    with transaction.atomic():
        # A row that somebody else holds has time until the next sweep: nobody waits here for another.
        batch = old.select_for_update(skip_locked=True).values("pk")[:FORGOTTEN_AT_ONCE]
        return model.objects.filter(pk__in=batch).update(client_id=None) == FORGOTTEN_AT_ONCE
