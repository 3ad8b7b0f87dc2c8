"""The words of a text as they are searched: folded, stemmed by its language, without the smallest. Pure, no Django.

Both databases store and look for what is made here, so they find the same. A term is a word in lower case without
accents, and beside it its stem where that differs. Scripts without blanks between words give pairs of characters.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import snowballstemmer

from chats.knowledge.stop_words import STOP_WORDS

TERM_MAX_LENGTH = 40
# Of a text, as much as tells its language.
SAMPLE_WORDS = 400
STEMMERS = {
    "en": "english",
    "de": "german",
    "fr": "french",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
    "nl": "dutch",
}

APOSTROPHES = "'\u2019"

_WORD = re.compile(rf"[^\W_]+(?:[{APOSTROPHES}][^\W_]+)?")
# Words that stand together without blanks: Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def language_of(text: str) -> str:
    """The language whose small words stand most often in `text`, as in STEMMERS; "" when none is plain."""
    sample = [fold(match[0]) for match, _ in zip(_WORD.finditer(text), range(SAMPLE_WORDS), strict=False)]
    hits = {code: sum(word in small for word in sample) for code, small in STOP_WORDS.items()}
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] else ""


def words_of(text: str) -> Iterator[str]:
    """The words of `text`, folded, in their order; small ones too. None is empty, or has a blank."""
    for match in _WORD.finditer(text):
        word = fold(match[0])
        if not word:
            continue
        if _UNSPACED.search(word):
            yield from (word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            yield word[:TERM_MAX_LENGTH]


def terms_of(text: str, *, language: str) -> list[str]:
    """What `text` is found by, with repetitions. `language` as `language_of` says it."""
    small = STOP_WORDS.get(language, frozenset())
    found = []
    for word in words_of(text):
        if word not in small:
            found.append(word)
            if (stem := stem_of(word, language)) != word:
                found.append(stem)
    return found


def query_terms(text: str) -> list[str]:
    """What a question is looked for by, each once: its words, and their stems in whatever languages it may be in."""
    language = language_of(text)
    small = STOP_WORDS.get(language) or frozenset().union(*STOP_WORDS.values())
    words = list(dict.fromkeys(words_of(text)))
    # A question of small words only is better asked as it stands than not at all.
    meant = [word for word in words if word not in small] or words
    # Documents may be in another language than the question: names and numbers stem alike, and the rest finds nothing.
    languages = [language] if language else list(STEMMERS)
    return list(dict.fromkeys(term for word in meant for term in (word, *(stem_of(word, code) for code in languages))))


def fold(word: str) -> str:
    """`word` in lower case, without accents and apostrophes: «Größe» is «grosse»."""
    return _folded_before(word) if len(word) <= TERM_MAX_LENGTH else _folded(word)


def _folded(word: str) -> str:
    spread = unicodedata.normalize("NFKD", word.casefold())
    # Some letters, as Arabic ones in PDFs, are spread into signs with blanks between them.
    return "".join(sign for sign in spread if sign.isalnum())


_folded_before = lru_cache(50_000)(_folded)


def stem_of(word: str, language: str) -> str:
    if language not in STEMMERS or not 4 <= len(word) <= TERM_MAX_LENGTH or not word.isalpha():
        return word
    return _stemmed(word, language)


@lru_cache(50_000)
def _stemmed(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word)) or word


@lru_cache
def _stemmer(language: str) -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer(STEMMERS[language])
