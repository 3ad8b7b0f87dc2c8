"""A cheap look at whether what an answer says stands in the passages it refers to. Pure, no Django.

It reads no meanings. A sentence is doubtful when a number or a name in it stands in none of the passages that it names,
or when hardly a word of it does, in the same language. That finds what was made up, not what was misunderstood.

Each passage is read once, and what was found is remembered in the process. What is too long for a look is not doubted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from chats.knowledge.remembering import Memory
from chats.knowledge.stop_words import STOP_WORDS
from chats.knowledge.terms import fold, language_of, words_of
from chats.llm.passages import markers_in, numbers_in

MISSING_MAX = 5
# Of the words of a sentence, so many stand in what it rests on, by their first letters.
WORDS_SHARE = 0.25
STEM_LENGTH = 5

# No more is looked at: characters of a sentence and of all the passages of an answer, passages that a marker names,
# and different pairs of sentence and passages in an answer.
SENTENCE_CHARACTERS_MAX = 2_000
SOURCES_CHARACTERS_MAX = 200_000
NAMED_MAX = 20
CHECKS_MAX = 1_000
# Of a passage, as much as tells its language.
SAMPLE_CHARACTERS = 1_000
MEMORY_MAX_BYTES = 16_000_000
PLACE_LENGTH = 12
LAST_WORD_WITHIN = 48

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"»”')\]]*\s+|\n+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?…:] )(?<!^)(?<![\n>*#-] )\b[A-ZÀ-ÖØ-Þ][\w-]{2,}")
_PLAIN_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?", re.ASCII)
_WORD = re.compile(r"[^\W_]+")
# 24.000 and 24,000 and 24000 are the same to us, and so are 2.50 and 2,50.
_PLAIN = str.maketrans("", "", ".,:")
_SMALL = frozenset().union(*STOP_WORDS.values())


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker in an answer: which passages it names, and what of its sentence stands in none of them.

    `place` is the end of the last word before it, by which it is found again in what was made of the answer.
    """

    numbers: tuple[int, ...]
    missing: tuple[str, ...]
    is_supported: bool
    place: str


def citations_of(answer: str, passages: Sequence[str]) -> Sequence[Citation]:
    """The markers of `answer` in their order. `passages` are numbered from 1, as markers count them."""
    if "[" not in answer:
        return ()
    return _memory.get(_digest(answer, passages), lambda: tuple(_citations(answer, passages)))


def last_word(text: str) -> str:
    """The end of the last word of `text`, whatever signs follow it; "" without one near its end."""
    words = _WORD.findall(text[-LAST_WORD_WITHIN:])
    return words[-1][-PLACE_LENGTH:] if words else ""


def _digest(answer: str, passages: Sequence[str]) -> bytes:
    made = blake2b(digest_size=20)
    for text in (answer, *passages):
        # JSON may hold halves of characters.
        encoded = text.encode(errors="surrogatepass")
        made.update(b"%d " % len(encoded))
        made.update(encoded)
    return made.digest()


def _weight(citations: Sequence[Citation]) -> int:
    """Bytes that it takes to remember them, about. Several markers may share one."""
    different = {id(found): found for found in citations}.values()
    texts = sum(len(found.numbers) * 8 + sum(60 + 4 * len(missing) for missing in found.missing) for found in different)
    return 200 + 8 * len(citations) + 250 * len(different) + texts


_memory: Memory[bytes, Sequence[Citation]] = Memory(MEMORY_MAX_BYTES, weight=_weight)


# ---------------------------------------------------------------- sentences
class _Sentence:
    """What is held against passages of a sentence."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def numbers(self) -> list[str]:
        return _NUMBER.findall(self.text)

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """Each with its stem."""
        return [(name, fold(name.split("-")[0])[:STEM_LENGTH]) for name in _NAME.findall(self.text)]

    @cached_property
    def stems(self) -> set[str]:
        return {word[:STEM_LENGTH] for word in _different_words(self.text) if word not in _SMALL}

    @cached_property
    def language(self) -> str:
        return language_of(self.text)


_NOTHING_SAID = _Sentence("")


def _cited_sentences(answer: str) -> Iterator[tuple[_Sentence, str, tuple[int, ...]]]:
    """What each marker stands at the end of, and behind which word; of several in a row, the same."""
    sentence, place, end = _NOTHING_SAID, "", 0
    for marker in markers_in(answer):
        said = marker.string[end : marker.start()]
        end = marker.end()
        if said:
            before = [part for part in _SENTENCE_END.split(said) if part and part.strip(" \t>*#-.")]
            sentence = _Sentence(before[-1].strip()) if before else sentence
            place = last_word(_without_address(said)) or place
        # «As said in [1]: ...» leads to a claim and makes none.
        is_before_claim = marker.string.startswith(":", end)
        yield _NOTHING_SAID if is_before_claim else sentence, place, numbers_in(marker)


def _without_address(text: str) -> str:
    """`text` that may end with a link, without what the link leads to."""
    before, bracket, address = text.rpartition("](")
    return before if bracket and address.rstrip(" *_").endswith(")") else text


# ---------------------------------------------------------------- passages
class _Passage:
    """What sentences are held against; found out when it is first asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def numbers(self) -> set[str]:
        return {_plain(number) for number in _NUMBER.findall(self._text)}

    @cached_property
    def stems(self) -> set[str]:
        return {word[:STEM_LENGTH] for word in _different_words(self._text)}

    @property
    def sample(self) -> str:
        return self._text[:SAMPLE_CHARACTERS]

    @cached_property
    def language(self) -> str:
        return language_of(self.sample)


def _different_words(text: str) -> set[str]:
    """As `words_of`, each once. No word has a blank in it, and those without accents need but lower case."""
    parts = set(text.split())
    others = set() if text.isascii() else {part for part in parts if not part.isascii()}
    words = set(_PLAIN_WORD.findall(" ".join(parts - others).lower()))
    if "'" in text:
        words = {word.replace("'", "") for word in words}
    return words.union(words_of(" ".join(others)))


def _plain(number: str) -> str:
    return number.translate(_PLAIN)


def _within_limit(passages: Sequence[str]) -> dict[int, _Passage]:
    """Those that are looked at, by their numbers."""
    room, looked_at = SOURCES_CHARACTERS_MAX, {}
    for number, text in enumerate(passages, 1):
        if len(text) <= room:
            room -= len(text)
            looked_at[number] = _Passage(text)
    return looked_at


# ---------------------------------------------------------------- checks
def _citations(answer: str, passages: Sequence[str]) -> Iterator[Citation]:
    looked_at = _within_limit(passages)
    known: dict[tuple[str, str, tuple[int, ...]], Citation] = {}
    for sentence, place, numbers in _cited_sentences(answer):
        key = (sentence.text, place, numbers)
        if key not in known:
            named = [looked_at.get(number) for number in dict.fromkeys(numbers) if 1 <= number <= len(passages)]
            whole = [passage for passage in named if passage]
            can_tell = len(whole) == len(named) <= NAMED_MAX and len(sentence.text) <= SENTENCE_CHARACTERS_MAX
            missing, is_supported = _check(sentence, whole) if can_tell and len(known) < CHECKS_MAX else ((), True)
            known[key] = Citation(numbers, missing, is_supported, place)
        yield known[key]


def _check(sentence: _Sentence, passages: Sequence[_Passage]) -> tuple[tuple[str, ...], bool]:
    """What of `sentence` is missing in all of `passages`, and whether they seem to say it."""
    numbers = [number for number in sentence.numbers if not _stands(_plain(number), passages, _numbers_of)]
    names = [name for name, stem in sentence.names if not _stands(stem, passages, _stems_of)]
    said, found = len(sentence.stems), sum(_stands(stem, passages, _stems_of) for stem in sentence.stems)
    is_alike = not said or found / said >= WORDS_SHARE
    # In another language words say nothing. Telling languages costs the most, and mostly nothing depends on it.
    if (names or not is_alike) and not _speak_alike(sentence, passages):
        names, is_alike = [], True
    return tuple(dict.fromkeys(numbers + names))[:MISSING_MAX], is_alike and not numbers and not names


def _numbers_of(passage: _Passage) -> set[str]:
    return passage.numbers


def _stems_of(passage: _Passage) -> set[str]:
    return passage.stems


def _stands(what: str, passages: Sequence[_Passage], words: Callable[[_Passage], set[str]]) -> bool:
    return any(what in words(passage) for passage in passages)


def _speak_alike(sentence: _Sentence, passages: Sequence[_Passage]) -> bool:
    if not sentence.language:
        return True
    is_one = len(passages) == 1
    other = passages[0].language if is_one else language_of("\n".join(passage.sample for passage in passages))
    return not other or sentence.language == other
