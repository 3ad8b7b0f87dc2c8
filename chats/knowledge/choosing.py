"""Choosing what makes vectors of documents: staff's verbs. The old one is asked until the new one knows them all."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum
from django.db.models.functions import Coalesce

from chats import doorbell
from chats.catalog.models import AIModel
from chats.errors import Conflict, Invalid
from chats.knowledge.embedders import Asked, active_embedder, asked_model, local_vectors
from chats.knowledge.models import DocumentVersion, Embedder, Embedding
from chats.llm.errors import ProviderError
from chats.llm.registry import close_sessions, embed
from chats.llm.values import Embedded

SAMPLE = "Where is the manual of the weather station?"
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Progress:
    """Of how many documents, and of how many of them all vectors are made; the same in parts of them."""

    documents: int
    done: int
    chunks: int
    vectors: int


@dataclass(frozen=True)
class Chosen:
    """A new embedder of a provider, and about how many tokens its documents have."""

    embedder: Embedder
    asked: Asked
    tokens: int


def choose_local(kind: Embedder.Kind) -> Embedder:
    """Have an embedder take over that needs no provider. Raises Invalid when it can't, Conflict when it is asked."""
    embedder = Embedder(kind=kind)
    sample = local_vectors(embedder, [SAMPLE])
    assert sample is not None
    embedder.dimensions = sample.shape[1]
    return _start(embedder)


def choose_model(
    model: AIModel, *, book: Callable[[Asked, Embedded], None], query_prefix: str = "", text_prefix: str = ""
) -> Chosen:
    """Have `model` of a provider take over, once it has made vectors of all documents. It is tried first, of SAMPLE.

    The prefixes go before every query and text, for models that tell them apart by it. `book` is told of the trial,
    whatever comes of it. Raises Invalid when the model can't be asked, Conflict when it is asked already.
    """
    embedder = Embedder(
        kind=Embedder.Kind.PROVIDER,
        ai_model=model,
        provider=model.provider,
        model_id=model.model_id,
        settings=model.default_settings,
        query_prefix=query_prefix,
        text_prefix=text_prefix,
    )
    asked = asked_model(embedder, model)
    done = _try(asked)
    book(asked, done)
    embedder.dimensions = done.vectors.shape[1]
    tokens = (_searched().aggregate(sum=Sum("characters"))["sum"] or 0) // CHARACTERS_PER_TOKEN
    return Chosen(_start(embedder), asked, tokens)


def give_up(embedder: Embedder) -> None:
    """Take a choice back before it is in force. Raises Conflict afterwards."""
    with transaction.atomic():
        active_embedder(is_locked=True)
        if not Embedder.objects.filter(pk=embedder.pk, state=Embedder.State.PREPARING).retire():
            raise Conflict("Searches ask it. Choose another one, and it goes when that has taken over.")
        _wake(embedder)


def progress(embedder: Embedder) -> Progress:
    """How far the vectors of all documents by `embedder` are."""
    total = _searched().aggregate(documents=Count("pk"), chunks=Coalesce(Sum("chunk_count"), 0))
    lacking = DocumentVersion.objects.lacking_vectors().count()
    vectors = Embedding.objects.filter(embedder=embedder).aggregate(made=Coalesce(Sum("count"), 0))["made"]
    return Progress(total["documents"], total["documents"] - lacking, total["chunks"], min(vectors, total["chunks"]))


def _searched() -> Any:
    return DocumentVersion.objects.searched()


def _try(asked: Asked) -> Embedded:
    try:
        return _embed_sample(asked)
    except TimeoutError:
        raise Invalid(f"No answer within {settings.PROVIDER_TEST_SECONDS:g} seconds. Is the address right?") from None
    except ProviderError as error:
        raise Invalid(error.message) from None


@async_to_sync
async def _embed_sample(asked: Asked) -> Embedded:
    try:
        async with asyncio.timeout(settings.PROVIDER_TEST_SECONDS):
            return await embed(asked.target, [SAMPLE], asked.embedder.settings, asked.limits)
    finally:
        await close_sessions()


def _start(embedder: Embedder) -> Embedder:
    with transaction.atomic(durable=True):
        active = active_embedder(is_locked=True)
        if _identity(active) == _identity(embedder):
            raise Conflict(f"Searches ask «{active}» already, with these settings.")
        Embedder.objects.filter(state=Embedder.State.PREPARING).retire()
        embedder.save(force_insert=True)
        _searched().update(lacks_vectors=True)
        _wake(embedder)
    return embedder


def _identity(embedder: Embedder) -> tuple[Any, ...]:
    names = ("kind", "provider_id", "model_id", "settings", "query_prefix", "text_prefix", "dimensions")
    return tuple(getattr(embedder, name) for name in names)


def _wake(embedder: Embedder) -> None:
    transaction.on_commit(partial(doorbell.ring, "document", embedder.pk))
