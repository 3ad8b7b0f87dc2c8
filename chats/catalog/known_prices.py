"""Public list prices of well-known models, from the data that comes with genai-prices. No network."""

import re
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from django.utils import timezone

from chats.catalog.services import PriceValues

_EMBEDDING_NAMES = re.compile(r"embed|(?:^|[/_-])(?:bge|e5|gte|minilm)(?:[_-]|$)|[_-]minilm", re.IGNORECASE)
# Paid per search a model makes, which no chat here asks for; they say nothing against the price of its tokens.
_BESIDE_TOKENS = {"web_searches_kcount", "storage_searches_kcount"}
_OURS = {
    "input_mtok": "input_per_million",
    "output_mtok": "output_per_million",
    "cache_read_mtok": "cached_input_per_million",
    "cache_write_mtok": "cache_write_per_million",
}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """`price` is None when it is not one plain number for each kind of token. `source` is for a price's reason."""

    context_window: int | None
    price: PriceValues | None
    source: str


def makes_embeddings(model_id: str) -> bool:
    """Whether a model makes vectors instead of answers, by what such models are called; no list of models says it."""
    return _EMBEDDING_NAMES.search(model_id) is not None


def known_model(base_url: str, model_id: str) -> KnownModel | None:
    """What is known for sure of `model_id` at the server with this address; None for any other server or model."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 0.3 s, needed only when staff import

    try:
        provider = get_snapshot().find_provider(None, None, base_url)
    except LookupError:
        return None
    # Without the other providers it can't fall back on a namesake elsewhere.
    model = provider.find_model(model_id)
    if model is None:
        return None
    price = _plain(model.get_prices(timezone.now()), has_output=not makes_embeddings(model_id))
    return KnownModel(model.context_window, price, f"genai-prices {version('genai-prices')}")


def _plain(prices: Any, *, has_output: bool) -> PriceValues | None:
    found = {name: value for name, value in vars(prices).items() if value is not None and name not in _BESIDE_TOKENS}
    if not has_output:
        found.setdefault("output_mtok", Decimal(0))
    # Tiers, audio and the like: half a price would book too little, so it stays unknown.
    if not {"input_mtok", "output_mtok"} <= found.keys() <= _OURS.keys():
        return None
    if not all(isinstance(value, Decimal) for value in found.values()):
        return None
    return PriceValues(**{_OURS[name]: value for name, value in found.items()})
