"""Verbs of the catalog: which model a person may use, what it costs, and how staff change both.

Admin, commands and API all come through here. What is refused is refused with `accounts.errors.Invalid`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from accounts.queries import Prepared
from chats.catalog.addresses import is_allowed
from chats.catalog.models import AIModel, Price, Provider
from chats.cleaning import clean_text
from chats.errors import Conflict, Invalid, ModelUnavailable
from chats.llm.values import Limits, Target

if TYPE_CHECKING:
    from accounts.models import User

Row = TypeVar("Row", bound=models.Model)

REFERENCE_MAX_CHARACTERS = 200  # as long as the longest name or model id
FIRST_ORDER, ORDER_STEP = 100, 10  # with room to move one between two others
FALLBACK_CHAIN_MAX = 3  # a model, its fallback, and that one's

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_ID = Prepared(
    lambda user, pk: AIModel.objects.visible_to(get_user_model()(pk=user)).named(str(pk)).select_related("provider")[:1]
)


@dataclass(frozen=True, slots=True)
class PriceValues:
    """USD per million tokens, and for each request. None for a kind of input: it costs what input costs."""

    input_per_million: Decimal
    output_per_million: Decimal
    cached_input_per_million: Decimal | None = None
    cache_write_per_million: Decimal | None = None
    per_request: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class SavedModel:
    """`price` is the one in force, or None when unknown; `created` is false when the model was there before."""

    model: AIModel
    price: Price | None
    created: bool


def usable_model(user: "User", reference: str | None) -> AIModel:
    """The model `user` means by an id, a name or a provider's model id; by None, their first one.

    Raises ModelUnavailable alike for a missing, a disabled and a forbidden model.
    """
    is_id = reference is not None and _ID.fullmatch(reference)
    model = _OF_ID.first(user.pk, UUID(reference)) if is_id else _model_named(user, reference)
    if model is None or not is_allowed(model.provider.base_url):
        raise ModelUnavailable
    return model


def _model_named(user: "User", reference: str | None) -> AIModel | None:
    models_of_user = AIModel.objects.visible_to(user).select_related("provider")
    if reference is not None:
        if len(reference) > REFERENCE_MAX_CHARACTERS or clean_text(reference) != reference:
            return None
        models_of_user = models_of_user.named(reference)
    return next(iter(models_of_user[:1]), None)


def target_of(model: AIModel) -> Target:
    """Where `model` is reached, with its key."""
    provider = model.provider
    return Target(kind=provider.kind, base_url=provider.base_url, api_key=provider.api_key, model_id=model.model_id)


def limits_of(model: AIModel, *, window_seconds: float = 0) -> Limits:
    """What `model` may take: its own seconds where staff gave some, else those of the settings."""
    return Limits(
        connect_seconds=settings.PROVIDER_CONNECT_SECONDS,
        first_token_seconds=model.first_token_seconds or settings.PROVIDER_FIRST_TOKEN_SECONDS,
        silence_seconds=model.silence_seconds or settings.PROVIDER_SILENCE_SECONDS,
        window_seconds=window_seconds,
    )


def usable_fallback(user: "User", model: AIModel, *, asked: Collection[UUID]) -> AIModel | None:
    """Who answers `user` instead of `model`: the next in its chain who may now and is not among those `asked`."""
    chain = _chain_from(model.pk, _fallback_links())[:FALLBACK_CHAIN_MAX]
    usable = (
        AIModel.objects.visible_to(user).select_related("provider").in_bulk([pk for pk in chain if pk not in asked])
    )
    in_turn = (usable[pk] for pk in chain if pk in usable)
    return next((other for other in in_turn if is_allowed(other.provider.base_url)), None)


def check_fallback(model: AIModel, fallback: AIModel | None) -> None:
    """Raises Invalid when `fallback` would stand in for itself, or the chain would be longer than three models."""
    if fallback is None:
        return
    if fallback.pk == model.pk:
        raise _bad_fallback("A model can't be its own fallback.")
    if fallback.kind != AIModel.Kind.CHAT:
        raise _bad_fallback(f"«{fallback}» answers in no chat.")
    links = _fallback_links() | {model.pk: fallback.pk}
    if model.pk in _chain_from(fallback.pk, links):
        raise _bad_fallback(f"«{fallback}» itself falls back on this model: that would go round in a circle.")
    if any(model.pk in (chain := _chain_from(start, links)) and len(chain) > FALLBACK_CHAIN_MAX for start in links):
        raise _bad_fallback(f"At most {FALLBACK_CHAIN_MAX} models may stand in for each other in a row.")


def set_fallback(model: AIModel, fallback: AIModel | None) -> None:
    """Let `fallback` answer when `model` fails before its first token; None: nobody does. Raises Invalid."""
    check_fallback(model, fallback)
    model.fallback = fallback
    _store(model, update_fields=["fallback", "updated_at"])


def _bad_fallback(reason: str) -> Invalid:
    return Invalid(reason, fields={"fallback": [reason]})


def _fallback_links() -> dict[UUID, UUID]:
    """Every model that has a fallback, and which."""
    linked = AIModel.objects.filter(fallback__isnull=False).order_by()
    return {pk: fallback_id for pk, fallback_id in linked.values_list("pk", "fallback_id") if fallback_id}


def _chain_from(start: UUID, links: Mapping[UUID, UUID]) -> list[UUID]:
    """`start` and who stands in for it, in turn. It ends before one comes again, whatever two people saved at once."""
    chain = [start]
    while (following := links.get(chain[-1])) is not None and following not in chain:
        chain.append(following)
    return chain


def simple_price(price: Price | None) -> Decimal | None:
    """USD per million tokens when input and output cost the same, and nothing else does; else None."""
    if price is None or price.input_per_million != price.output_per_million or price.per_request:
        return None
    others = (price.cached_input_per_million, price.cache_write_per_million)
    return price.input_per_million if all(p in (None, price.input_per_million) for p in others) else None


def set_price(
    model: AIModel,
    *,
    valid_from: datetime | None = None,
    author: "User | None" = None,
    reason: str = "",
    **amounts: Decimal | None,
) -> Price:
    """Add a price, valid from now unless told. Earlier prices stay, and so does what was billed with them.

    `amounts` are those of PriceValues, in USD: `input_per_million` and `output_per_million` at least.
    """
    when = valid_from or timezone.now()
    return _store(Price(model=model, valid_from=when, author=author, reason=reason, **amounts))


@transaction.atomic(durable=True)
def save_model(
    name: str,
    *,
    provider: str,
    model_id: str,
    kind: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    enabled: bool = True,
    price: PriceValues | None = None,
    **details: Any,
) -> SavedModel:
    """Create or update the model `name` of the provider named `provider`, and that provider.

    None leaves what is there; so do `details` that are not given: `makes_embeddings`, `description`, `context_window`,
    `max_output_tokens`, `first_token_seconds`, `silence_seconds`, `writes_titles`, `order`, and `fallback`: a model's
    id, name or model id, "" for none. Without an `order` a new model comes last of its kind, see `_last_order`.
    A price row is added only when it differs from the one in force.
    """
    fallback, makes_embeddings = details.pop("fallback", None), details.pop("makes_embeddings", None)
    owner = save_provider(provider, kind=kind, base_url=base_url, api_key=api_key)
    model = AIModel.objects.filter(provider=owner, name=_storable(name)).first() or AIModel(provider=owner, name=name)
    created = model._state.adding
    if created:
        model.order = _last_order(owner)
    if makes_embeddings is not None:
        model.kind = AIModel.Kind.EMBEDDING if makes_embeddings else AIModel.Kind.CHAT
    _change(model, model_id=model_id, enabled=enabled, **details)
    _store(model)
    if fallback is not None:
        set_fallback(model, _model_meant(fallback) if fallback else None)
    return SavedModel(model, _ensure_price(model, price), created)


def _last_order(provider: Provider) -> int:
    """The place behind all models of its kind, real or demo: adding one doesn't change which is the default.

    But the first real one comes before the demo, which is the default only until there is one.
    """
    is_demo = models.Q(provider__kind=Provider.Kind.DEMO)
    peers = AIModel.objects.filter(is_demo if provider.kind == Provider.Kind.DEMO else ~is_demo)
    last = peers.aggregate(last=models.Max("order"))["last"]
    return FIRST_ORDER if last is None else last + ORDER_STEP


def _model_meant(reference: str) -> AIModel:
    found = AIModel.objects.named(_storable(reference, field="fallback"))[:2]
    if len(found) != 1:
        raise _bad_fallback(f"«{reference}» means {'several models' if found else 'no model'} here. Give an id.")
    return found[0]


def save_provider(
    name: str, *, kind: str | None = None, base_url: str | None = None, api_key: str | None = None
) -> Provider:
    """Create or update the provider `name`. None leaves what is there."""
    provider = Provider.objects.filter(name=_storable(name)).first() or Provider(name=name)
    changed = _change(provider, kind=kind, base_url=base_url, api_key=api_key)
    # Only what changed: a stored key that can't be read at the moment must not be overwritten by its empty reading.
    return _store(provider, update_fields=None if provider._state.adding else [*changed, "updated_at"])


def delete_model(model: AIModel) -> None:
    """Delete a model that was never used, with its prices. Raises Conflict when it was."""
    with transaction.atomic():
        check_unused(model)
        model.delete()


def check_unused(model: AIModel) -> None:
    """Raises Conflict when a chat, an answer or the ledger names `model`."""
    # The rooms above name a model by keys that survive its deletion. They are found through Django's registry,
    # because this room can't import them.
    naming = (
        relation
        for relation in AIModel._meta.get_fields(include_hidden=True)
        if isinstance(relation, models.ManyToOneRel)
        and relation.on_delete is models.SET_NULL
        and relation.related_model is not AIModel  # to be somebody's fallback is no use yet
    )
    if any(rel.related_model._base_manager.filter(**{rel.field.name: model}).exists() for rel in naming):
        raise Conflict(
            f"«{model}» has been used, so its history keeps it. Disable it instead: nobody can choose it then."
        )


def delete_provider(provider: Provider) -> None:
    """Delete a provider without models. Raises Conflict when it has some."""
    with transaction.atomic():
        check_empty(provider)
        provider.delete()


def check_empty(provider: Provider) -> None:
    """Raises Conflict when `provider` has models."""
    if provider.models.exists():
        raise Conflict(f"«{provider}» still has models. Disable it instead, or delete its models first.")


def _change(row: models.Model, **values: Any) -> list[str]:
    """Set the values that are not None on `row`; returns their names."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        setattr(row, name, value)
    return list(given)


def _ensure_price(model: AIModel, wanted: PriceValues | None) -> Price | None:
    current = model.price_at(timezone.now())
    if wanted is None or (current is not None and values_of(current) == wanted):
        return current
    return set_price(model, **asdict(wanted))


def values_of(price: Price) -> PriceValues:
    """What `price` says, without when and why."""
    return PriceValues(**{field.name: getattr(price, field.name) for field in fields(PriceValues)})


def _store(row: Row, *, update_fields: list[str] | None = None) -> Row:
    """Save `row` if it is valid, else raise Invalid with the reasons by field."""
    try:
        _check(row)
        with transaction.atomic():
            row.save(update_fields=update_fields)
    except ValidationError as error:
        raise _refusal(row, error) from None
    except IntegrityError as error:
        # Someone wrote the same between our look and our write. A second look finds their row and says so.
        raise _refusal(row, _what_is_wrong_now(row, error)) from None
    return row


def _check(row: models.Model) -> None:
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if isinstance(value, str):
            _storable(value, field=field.name)
    row.full_clean()


def _storable(text: str, *, field: str = "name") -> str:
    """`text` as it is, when both databases can store it and be asked for it. Raises Invalid."""
    if clean_text(text) != text:
        raise Invalid(f"The {field} has characters that can't be stored.", fields={field: ["Can't be stored."]})
    return text


def _what_is_wrong_now(row: models.Model, conflict: IntegrityError) -> ValidationError:
    try:
        row.full_clean()
    except ValidationError as error:
        return error
    raise conflict


def _refusal(row: models.Model, error: ValidationError) -> Invalid:
    reasons = error.message_dict
    return Invalid(" ".join(_sentence(row, name, texts) for name, texts in reasons.items()), fields=reasons)


def _sentence(row: models.Model, field: str, texts: list[str]) -> str:
    if field == NON_FIELD_ERRORS:
        return " ".join(texts)
    label = str(getattr(row._meta.get_field(field), "verbose_name", field))
    return f"{label[:1].upper()}{label[1:]}: {' '.join(texts)}"
