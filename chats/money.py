"""Money as text. No rows, no HTTP."""

from decimal import Decimal


def plain_usd(usd: Decimal) -> str:
    """Every digit, and no more: 0.00123, never 1.23E-3 or 0.0012300."""
    return f"{usd.normalize():f}"
