"""What tokens cost. Exact decimals, no I/O."""

import math
from decimal import Decimal

from chats.catalog.models import Price
from chats.llm.passages import messages_of
from chats.llm.values import ChatRequest, Usage

MILLION = Decimal(1_000_000)
# English prose runs near four bytes a token with every common tokenizer; used only where a provider sent no count.
BYTES_PER_TOKEN = 4


def cost_of(usage: Usage, price: Price | None) -> Decimal | None:
    """USD for one call; None when the price is unknown, which never means free.

    Cached and cache-writing tokens are part of the input and billed at their own price, or as input without one.
    """
    if price is None:
        return None
    cached_price = price.input_per_million if price.cached_input_per_million is None else price.cached_input_per_million
    write_price = price.input_per_million if price.cache_write_per_million is None else price.cache_write_per_million
    plain_tokens = max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens)
    tokens_cost: Decimal = (
        plain_tokens * price.input_per_million
        + usage.cached_input_tokens * cached_price
        + usage.cache_write_tokens * write_price
        + usage.output_tokens * price.output_per_million
    )
    return tokens_cost / MILLION + price.per_request


def estimated_usage(request: ChatRequest, *, text: str, reasoning: str = "", arguments: str = "") -> Usage:
    """What an answer to `request` must have used, for a provider that sent no count."""
    reasoning_tokens = estimated_tokens(reasoning)
    return Usage(
        input_tokens=sum(estimated_tokens(message.content) for message in messages_of(request)),
        output_tokens=estimated_tokens(text + arguments) + reasoning_tokens,
        reasoning_tokens=reasoning_tokens,
    )


def estimated_tokens(text: str) -> int:
    """About how many tokens `text` is; 0 for nothing."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)
