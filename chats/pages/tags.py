"""Template tags of the house, built into every template."""

from decimal import Decimal
from uuid import uuid4

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chats.money import plain_usd

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A picture from the sprite. It is decoration: the control around it carries the name."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("chats/icons.svg"), name
    )


@register.simple_tag
def new_id() -> str:
    """What makes a form that is sent twice have one effect."""
    return str(uuid4())


@register.filter
def count(number: int) -> str:
    return f"{number:,}"


@register.filter
def file_size(size: int) -> str:
    """Bytes for people: «812 bytes», «3.4 MB», «1 GB», in steps of a thousand."""
    if size < 1_000:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, unit = size / 1_000, "kB"
    for larger in ("MB", "GB", "TB"):
        if round(value, 1) < 1_000:
            break
        value, unit = value / 1_000, larger
    return f"{value:,.1f}".removesuffix(".0") + f" {unit}"


@register.filter
def exact_usd(amount: Decimal | None) -> str:
    """Dollars for those who set prices: every digit, and no more."""
    return "-" if amount is None else plain_usd(amount)


@register.filter
def usd(amount: Decimal | str | None) -> str:
    """Dollars for people: cents and all from a cent on, two significant digits below. Unknown is not free."""
    if amount is None:
        return "cost unknown"
    value = Decimal(amount)
    if not value:
        return "free"
    digits = 2 if value >= Decimal("0.01") else 1 - value.adjusted()
    return f"${value:,.{digits}f}"
