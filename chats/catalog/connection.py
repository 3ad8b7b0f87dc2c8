"""Asking a provider, when staff want to know: does it answer, and which models has it?"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction

from chats.catalog.addresses import NOT_ALLOWED, is_allowed
from chats.catalog.known_prices import KnownModel, known_model, makes_embeddings
from chats.catalog.models import AIModel, Provider
from chats.catalog.services import set_price
from chats.errors import Invalid
from chats.llm.errors import ProviderError
from chats.llm.registry import list_models
from chats.llm.values import Limits, Target


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """`message` is a sentence for people with the provider's own words in it, never the key."""

    ok: bool
    latency_ms: int
    message: str
    models: int = 0


@dataclass(frozen=True, slots=True)
class Imported:
    """`added` came in disabled; `known` were there before and stay as they are."""

    added: list[AIModel]
    known: int
    priced: int

    @property
    def summary(self) -> str:
        said = [f"Imported {len(self.added)}, disabled until you enable them."]
        if self.known:
            said.append(f"Already here: {self.known}.")
        if self.priced:
            said.append(f"Given their list price: {self.priced}; check it first.")
        if unpriced := len(self.added) - self.priced:
            said.append(f"Without a price: {unpriced}.")
        return " ".join(said)


def test_connection(provider: Provider) -> ConnectionReport:
    """Ask the provider for its models, and say how that went. Takes PROVIDER_TEST_SECONDS at most."""
    began = time.monotonic()
    try:
        names = _ask_for_models(provider)
    except Invalid as error:
        return ConnectionReport(False, _ms_since(began), error.message)
    latency = _ms_since(began)
    return ConnectionReport(True, latency, f"It answered in {latency} ms. Models it lists: {len(names)}.", len(names))


def import_models(provider: Provider) -> Imported:
    """Add every model the provider lists and we have not, disabled; prices where they are known for sure.

    Raises Invalid when the provider can't be asked.
    """
    listed = _ask_for_models(provider)
    facts = {model_id: known_model(provider.base_url, model_id) for model_id in listed}
    with transaction.atomic():
        # One import at a time: two at once would both add what is new.
        Provider.objects.select_for_update().get(pk=provider.pk)
        present = dict(provider.models.values_list("model_id", "name"))
        new = [model_id for model_id in listed if model_id not in present]
        added = AIModel.objects.bulk_create(_rows(provider, new, facts, taken=set(present.values())))
        priced = sum(_set_known_price(model, facts[model.model_id]) for model in added)
    return Imported(added, len(listed) - len(added), priced)


def _ask_for_models(provider: Provider) -> list[str]:
    """What the provider lists. Raises Invalid in its own words when it does not."""
    _check_usable(provider)
    try:
        return _list_models(Target(provider.kind, provider.base_url, provider.api_key, model_id=""))
    except TimeoutError:
        raise Invalid(f"No answer within {settings.PROVIDER_TEST_SECONDS:g} seconds. Is the address right?") from None
    except ProviderError as error:
        raise Invalid(error.message) from None


def _check_usable(provider: Provider) -> None:
    if provider.has_unreadable_key():
        raise Invalid("The stored key can't be read with the present ENCRYPTION_KEYS. Enter the key again.")
    if not is_allowed(provider.base_url):
        raise Invalid(NOT_ALLOWED)


@async_to_sync
async def _list_models(target: Target) -> list[str]:
    seconds = settings.PROVIDER_TEST_SECONDS
    connect_seconds = min(seconds, settings.PROVIDER_CONNECT_SECONDS)
    # The clock out here is the one that strikes: it covers every kind of provider, and says it in its own words.
    limits = Limits(connect_seconds=connect_seconds, first_token_seconds=2 * seconds)
    async with asyncio.timeout(seconds):
        return await list_models(target, limits)


def _rows(
    provider: Provider, model_ids: Iterable[str], facts: dict[str, KnownModel | None], *, taken: set[str]
) -> list[AIModel]:
    return [
        AIModel(
            provider=provider,
            model_id=model_id,
            name=model_id if model_id not in taken else f"{model_id[:180]} (imported)",
            kind=AIModel.Kind.EMBEDDING if makes_embeddings(model_id) else AIModel.Kind.CHAT,
            context_window=known.context_window if (known := facts[model_id]) else None,
        )
        for model_id in model_ids
    ]


def _set_known_price(model: AIModel, known: KnownModel | None) -> bool:
    if known is None or known.price is None:
        return False
    set_price(model, **asdict(known.price), reason=known.source)
    return True


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
