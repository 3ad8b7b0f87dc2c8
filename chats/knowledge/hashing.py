"""The embedder that is always there: words and parts of words, hashed into a vector. No network, no model, no Django.

It knows no meanings. What it adds to a search by words is that «battery life» is near «Batterielaufzeiten»: it sees the
groups of four letters they share. Feature hashing as in Weinberger et al., 2009: a sign and a place from one hash.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

from chats.knowledge.stop_words import STOP_WORDS
from chats.knowledge.terms import words_of

DIMENSIONS = 512
GRAM = 4
# What a whole word counts beside one of its parts.
WORD_WEIGHT = 1.0
GRAM_WEIGHT = 0.45

_SMALL = frozenset().union(*STOP_WORDS.values())


def embed(texts: Iterable[str]) -> NDArray[np.float32]:
    """A unit vector a text, as rows; all zeros for one without words."""
    return np.array([_vector_of(text) for text in texts], dtype=np.float32).reshape(-1, DIMENSIONS)


def _vector_of(text: str) -> NDArray[np.float32]:
    weights = _weights_of(words_of(text))
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    if not weights:
        return vector
    hashes = np.array([zlib.crc32(name.encode()) for name in weights], dtype=np.uint32)
    signs = np.where(hashes & 1, np.float32(1), np.float32(-1))
    np.add.at(vector, (hashes >> 1) % DIMENSIONS, signs * np.array(list(weights.values()), dtype=np.float32))
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector


def _weights_of(words: Iterable[str]) -> dict[str, float]:
    """What each feature counts: the more often it stands there, but ever less so."""
    counts = Counter(word for word in words if word not in _SMALL)
    weights: dict[str, float] = {}
    for word, count in counts.items():
        often = 1 + log1p(count - 1)
        weights[f"={word}"] = WORD_WEIGHT * often
        for gram in _grams(word):
            weights[gram] = weights.get(gram, 0.0) + GRAM_WEIGHT * often
    return weights


def _grams(word: str) -> Sequence[str]:
    """Groups of letters of «^word$»; of a number none, as 2019 is not near 2018."""
    if len(word) < GRAM or not word.isalpha():
        return ()
    marked = f"^{word}$"
    return [marked[at : at + GRAM] for at in range(len(marked) - GRAM + 1)]
