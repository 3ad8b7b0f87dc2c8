"""Requests that may come twice: the id under which a client sends one, and the digest that tells its body from another.

Who makes something remembers both: the same id gives the same answer again, with another body it is a conflict. After
CLIENT_ID_MEMORY_SECONDS the id is forgotten, and makes something new.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.client_ids import check_client_id
from accounts.models import ApiKey, User
from accounts.queries import one_or_none
from chats.cleaning import clean_text
from chats.errors import Conflict, NotFound
from chats.models import Chat, Reply

# What is made under a client_id. Each has an index of the moments of those rows that still have theirs.
REMEMBERING = (Reply, Chat, ApiKey)
FORGOTTEN_AT_ONCE = 500


def digest_of(
    verb: str,
    *,
    subject: UUID | None = None,
    content: str | None = None,
    model: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> str:
    """SHA-256 of what is asked: to do `verb` to the row `subject`, or to make one with these `fields`, cleaned.

    Texts that are stored alike are asked alike.
    """
    body: list[Any] = [verb, str(subject), clean_text(content or "").encode().hex(), model and clean_text(model)]
    if fields is not None:
        body.append(dict(fields))
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def chat_once(
    user: User, client_id: str | None, verb: Chat.Verb, digest: str, make: Callable[[], Chat]
) -> tuple[Chat, bool]:
    """The chat that `make` stores in one durable transaction, and True; or what the same request made before.

    Raises Invalid for a bad id, Conflict for another body under it, NotFound when that chat was deleted.
    """
    if client_id is None:
        with transaction.atomic(durable=True):
            return make(), True
    check_client_id(client_id)
    if earlier := _known_chat(user, client_id, verb, digest):
        return earlier, False
    try:
        with transaction.atomic(durable=True):
            chat = make()
            chat.client_id, chat.request_verb, chat.request_digest = client_id, verb, digest
            chat.save(update_fields=["client_id", "request_verb", "request_digest"])
            return chat, True
    except IntegrityError:
        # The same client_id was being written by another request; what that one made is the answer here too.
        if earlier := _known_chat(user, client_id, verb, digest):
            return earlier, False
        raise


def _known_chat(user: User, client_id: str, verb: Chat.Verb, digest: str) -> Chat | None:
    known = one_or_none(Chat.objects.filter(user=user), client_id=client_id, request_verb=verb)
    if known is None:
        return None
    if known.request_digest != digest:
        raise Conflict("This client_id was used for another chat.")
    if known.deleted_at:
        raise NotFound("This chat was deleted.")
    return known


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
        # It is read before it is written: inside the UPDATE, PostgreSQL may ask once a row for «the next» of them.
        batch = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
        return model.objects.filter(pk__in=batch).update(client_id=None) == FORGOTTEN_AT_ONCE
