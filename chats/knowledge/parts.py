"""What the extractor has left in its folder, a batch of chunks at a time."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chats.knowledge.indexing import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# As many vectors as a row of the database has where they are packed.
PER_BATCH = 128


@dataclass(frozen=True)
class Batch:
    """Chunks that follow each other, and their vectors by the built-in embedder, one a row."""

    parts: list[Part]
    vectors: "NDArray[np.float32]"


def batches_of(chunks_path: Path, text: str) -> Iterator[Batch]:
    """The chunks of `text`, in their order."""
    with chunks_path.open("rb") as lines:
        while taken := [orjson.loads(line) for line in islice(lines, PER_BATCH)]:
            yield _batch_of(taken, text)


def _batch_of(taken: list[dict[str, Any]], text: str) -> Batch:
    import numpy as np  # noqa: PLC0415 - see `embedders`

    parts = [
        Part(
            index=one["index"],
            start=one["start"],
            end=one["end"],
            page=one["page"],
            heading=one["heading"],
            text=text[one["start"] : one["end"]],
            terms=one["terms"],
        )
        for one in taken
    ]
    vectors = np.frombuffer(b"".join(b64decode(one["vector"]) for one in taken), dtype="<f4")
    return Batch(parts, vectors.reshape(len(parts), -1))
