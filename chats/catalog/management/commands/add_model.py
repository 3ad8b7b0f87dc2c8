"""`manage.py add_model`: create or update a model, its provider and its price. Prints one JSON object."""

import json
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chats.catalog.models import Price, Provider
from chats.catalog.services import PriceValues, SavedModel, save_model, values_of
from chats.errors import Invalid
from chats.money import plain_usd


class Command(BaseCommand):
    help = "Create or update a model, its provider and its price. Prints JSON; so are errors, with exit code 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="as people see it in the picker")
        parser.add_argument("--provider", required=True, help="name of the provider; made when there is none")
        parser.add_argument("--model-id", required=True, help="as the provider calls it")
        parser.add_argument("--kind", help=f"of provider: {' or '.join(Provider.Kind.values)}")
        parser.add_argument("--base-url", help="of the provider, up to and including /v1")
        parser.add_argument("--api-key", help="stored encrypted; without it the present key stays")
        parser.add_argument(
            "--embeddings", action="store_true", help="it makes vectors of documents, and answers in no chat"
        )
        parser.add_argument("--disabled", action="store_true", help="without it the model is enabled")
        parser.add_argument("--description", help="what it is good at")
        parser.add_argument("--context-window", help="tokens it can read at once")
        parser.add_argument("--max-output", help="most tokens in one answer")
        parser.add_argument(
            "--first-token-seconds", help="how long its first word may take; without it as the server is set"
        )
        parser.add_argument("--silence-seconds", help="how long it may pause in mid-answer")
        parser.add_argument("--fallback", help='the model that answers when this one does not; "" for none')
        parser.add_argument(
            "--order", help="lower comes first, the first is the default; a new model without it comes last"
        )
        parser.add_argument("--writes-titles", action="store_true", help="it also writes the titles of new chats")
        parser.add_argument("--input-price", help="USD per million tokens")
        parser.add_argument("--output-price", help="USD per million tokens")
        parser.add_argument("--cached-input-price", help="USD per million tokens; without it as input")

    def handle(self, **options: Any) -> None:
        try:
            saved = _save(options)
        except Invalid as error:
            body = {"error": {"code": error.code, "message": error.message, "fields": error.fields}}
            self.stderr.write(json.dumps(body))
            raise SystemExit(1) from None
        self.stdout.write(json.dumps(_shown(saved)))


def _save(options: dict[str, Any]) -> SavedModel:
    return save_model(
        options["name"],
        provider=options["provider"],
        kind=options["kind"],
        base_url=options["base_url"],
        api_key=options["api_key"],
        model_id=options["model_id"],
        makes_embeddings=options["embeddings"] or None,
        enabled=not options["disabled"],
        price=_price(options),
        description=options["description"],
        context_window=options["context_window"],
        max_output_tokens=options["max_output"],
        first_token_seconds=options["first_token_seconds"],
        silence_seconds=options["silence_seconds"],
        fallback=options["fallback"],
        order=options["order"],
        writes_titles=options["writes_titles"] or None,
    )


def _price(options: dict[str, Any]) -> PriceValues | None:
    paid, asked, cached = (_usd(options[f"{kind}_price"]) for kind in ("input", "output", "cached_input"))
    if paid is None and asked is None and cached is None:
        return None
    if options["embeddings"] and asked is None:
        asked = Decimal(0)  # there is none
    if paid is None or asked is None:
        raise Invalid("Give both --input-price and --output-price; 0 means free.")
    return PriceValues(input_per_million=paid, output_per_million=asked, cached_input_per_million=cached)


def _usd(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise Invalid(f"«{text[:40]}» is not a price: write USD per million tokens, for example 1.25.")
    return amount


def _shown(saved: SavedModel) -> dict[str, Any]:
    model, provider = saved.model, saved.model.provider
    return {
        "id": str(model.pk),
        "name": model.name,
        "provider": {
            "id": str(provider.pk),
            "name": provider.name,
            "kind": provider.kind,
            "base_url": provider.base_url,
        },
        "model_id": model.model_id,
        "kind": model.kind,
        "enabled": model.enabled,
        "order": model.order,
        "first_token_seconds": model.first_token_seconds,
        "silence_seconds": model.silence_seconds,
        "fallback": str(model.fallback_id) if model.fallback_id else None,
        "price": _shown_price(saved.price) if saved.price else None,
        "created": saved.created,
    }


def _shown_price(price: Price) -> dict[str, str | None]:
    amounts = asdict(values_of(price))
    return {name: None if usd is None else plain_usd(usd) for name, usd in amounts.items()} | {"currency": "USD"}
