"""A cheap look at whether what an answer says stands in the passages it refers to. Pure, no Django.

It reads no meanings. A sentence is doubtful when a number or a name in it stands in none of the passages that it names,
or when hardly a word of it does, in the same language. That finds what was made up, not what was misunderstood.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chats.knowledge.stop_words import STOP_WORDS
from chats.knowledge.terms import fold, language_of, words_of
from chats.llm.passages import markers_in, numbers_in

MISSING_MAX = 5
# Of the words of a sentence, so many stand in what it rests on, by their first letters.
WORDS_SHARE = 0.25
STEM_LENGTH = 5

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"»”')\]]*\s+|\n+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?…:] )(?<!^)(?<![\n>*#-] )\b[A-ZÀ-ÖØ-Þ][\w-]{2,}")
_SMALL = frozenset().union(*STOP_WORDS.values())


@dataclass(frozen=True)
class Citation:
    """A marker in an answer: which passages it names, and what of its sentence stands in none of them."""

    numbers: tuple[int, ...]
    missing: tuple[str, ...]
    is_supported: bool


def citations_of(answer: str, passages: Sequence[str]) -> list[Citation]:
    """The markers of `answer` in their order. `passages` are numbered from 1, as markers count them."""
    return [_citation(sentence, numbers, passages) for sentence, numbers in _cited_sentences(answer)]


def _cited_sentences(answer: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What each marker stands at the end of; of several in a row, the same."""
    sentence, end = "", 0
    for marker in markers_in(answer):
        before = [
            part for part in _SENTENCE_END.split(marker.string[end : marker.start()]) if part and part.strip(" \t>*#-.")
        ]
        sentence = before[-1] if before else sentence
        end = marker.end()
        yield sentence.strip(), numbers_in(marker)


def _citation(sentence: str, numbers: tuple[int, ...], passages: Sequence[str]) -> Citation:
    source = "\n".join(passages[number - 1] for number in numbers if 1 <= number <= len(passages))
    known = {_plain(number) for number in _NUMBER.findall(source)}
    missing = [number for number in _NUMBER.findall(sentence) if _plain(number) not in known]
    is_supported = not missing
    if _speak_alike(sentence, source):
        stems = {word[:STEM_LENGTH] for word in words_of(source)}
        missing += [name for name in _NAME.findall(sentence) if fold(name.split("-")[0])[:STEM_LENGTH] not in stems]
        said = {word[:STEM_LENGTH] for word in words_of(sentence) if word not in _SMALL}
        is_supported = not missing and (not said or len(said & stems) / len(said) >= WORDS_SHARE)
    return Citation(numbers, tuple(dict.fromkeys(missing))[:MISSING_MAX], is_supported)


def _speak_alike(one: str, other: str) -> bool:
    first, second = language_of(one), language_of(other)
    return not first or not second or first == second


def _plain(number: str) -> str:
    """24.000 and 24,000 and 24000 are the same to us, and so are 2.50 and 2,50."""
    return re.sub(r"[.,:]", "", number)
