"""How the demo answers from documents: it looks for the sentences that share most with the question, and quotes them.

No model writes here, so nothing is made up: every sentence is one of the document's, with its number.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from math import log

from chats.llm.values import Passage

SENTENCES_MAX = 3
PASSAGES_MAX = 3
# A sentence is quoted beside the best one when it says at least so much of it; each passage further down counts less.
SHARE_OF_BEST = 0.8
RANK_DISCOUNT = 0.3
SENTENCE_MAX_LENGTH = 400
# A word's first letters stand for all its forms.
STEM_LENGTH = 6
SHORT_WORDS = 3

NOTHING = """\
I found nothing about this in your documents. Try other words, or look at **Documents** whether what you mean is ready.
"""
FOUND = "This is what your documents say:"
FOOTNOTE = """\
*I am the demo: I quote the sentences that fit best. With a real model you get an answer in its own words.*
"""

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[^\sa-zäöüß])|\n+")
_WORD = re.compile(r"[^\W_]+")


def answer_from(question: str, passages: Sequence[Passage]) -> str:
    """The best sentences of `passages` as Markdown quotes, each with the number of its passage."""
    sentences = [
        (number, place, sentence)
        for number, passage in enumerate(passages, 1)
        for place, sentence in enumerate(_sentences_of(passage.text))
    ]
    if not sentences:
        return NOTHING
    best = _best(question, sentences)
    quotes = "\n\n".join(f"> {_shortened(sentence)} [{number}]" for number, _, sentence in best)
    return f"{FOUND}\n\n{quotes}\n\n{FOOTNOTE}"


def _best(question: str, sentences: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Those that share the rarest words with the question; of passages that come first when they are equal."""
    stems = [_stems(sentence) for *_, sentence in sentences]
    spread = Counter(stem for found in stems for stem in found)
    asked = _stems(question)
    scores = {
        sentence: sum(log(1 + len(sentences) / spread[stem]) for stem in found & asked)
        / (1 + RANK_DISCOUNT * sentence[0])
        for sentence, found in zip(sentences, stems, strict=True)
    }
    ranked = sorted(sentences, key=lambda sentence: -scores[sentence])
    least = scores[ranked[0]] * SHARE_OF_BEST
    chosen = [sentence for sentence in ranked if scores[sentence] and scores[sentence] >= least] or ranked[:1]
    first = list(dict.fromkeys(number for number, *_ in chosen))[:PASSAGES_MAX]
    kept = [sentence for sentence in chosen if sentence[0] in first][:SENTENCES_MAX]
    return sorted(kept, key=lambda sentence: (first.index(sentence[0]), sentence[1]))


def _sentences_of(text: str) -> list[str]:
    """The sentences of `text`, and its lines, without the marks of Markdown before them."""
    parts = (" ".join(part.split()).lstrip("#>*-•| ").strip() for part in _SENTENCE_END.split(text))
    return [part for part in parts if len(_WORD.findall(part)) >= SHORT_WORDS]


def _stems(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = _WORD.findall("".join(sign for sign in plain if not unicodedata.combining(sign)))
    return {word[:STEM_LENGTH] for word in words if len(word) > SHORT_WORDS or word.isdigit()}


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_MAX_LENGTH else f"{sentence[: SENTENCE_MAX_LENGTH - 1]}…"
