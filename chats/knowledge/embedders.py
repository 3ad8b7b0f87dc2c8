"""What makes vectors: the embedder that searches ask, and the built-in one.

numpy is imported where it is used: a process that searches no documents does without its 25 MB.
"""

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from chats.knowledge.models import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def active_embedder() -> Embedder:
    """The embedder that searches ask. Until staff choose another, the built-in one."""
    active = Embedder.objects.filter(state=Embedder.State.ACTIVE)
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


def vector_of(embedder: Embedder, text: str) -> "NDArray[np.float32] | None":
    """The vector of `text` when it can be made here; None when a provider must be asked."""
    if embedder.kind != Embedder.Kind.BUILTIN:
        return None
    from chats.knowledge import hashing  # noqa: PLC0415 - see above

    vector: NDArray[np.float32] = hashing.embed([text])[0]
    return vector
