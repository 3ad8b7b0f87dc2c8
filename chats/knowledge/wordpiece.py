"""Words in pieces, as the vocabularies of uncased BERT models know them. Pure, no Django.

They are those of the `tokenizers` library (its BertNormalizer, BertPreTokenizer and WordPiece) but for one thing: in a
text, «[SEP]» and its like are characters as any others, so no document can end itself.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

FIRST, LAST, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
WORD_MAX_LENGTH = 100
_IDEOGRAPHS = (
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2B820),
    # The library begins here, not at 0x2B820, and the vocabulary's pieces were made with it.
    range(0x2B920, 0x2CEB0),
    range(0x2F800, 0x2FA20),
)


class _Folded(dict[int, str]):
    """What stands for each character, for `str.translate`. Each is looked up once."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _folded(chr(code))
        return folded


def _folded(character: str) -> str:
    """A letter in lower case, nothing for an accent, blanks around what is a word of its own."""
    category = unicodedata.category(character)
    if character in "\t\n\r" or category[0] == "Z":
        return " "
    if category[0] == "C" or category == "Mn" or character == "\ufffd":
        return ""
    is_punctuation = category[0] == "P" or (character.isascii() and not character.isalnum())
    if is_punctuation or any(ord(character) in block for block in _IDEOGRAPHS):
        return f" {character} "
    return character.lower()


_FOLDED = _Folded()


def words_of(text: str) -> list[str]:
    """The words of `text` in lower case, without accents; each sign of punctuation and each ideograph is one."""
    return unicodedata.normalize("NFD", text).translate(_FOLDED).split()


@dataclass(frozen=True)
class Vocabulary:
    """The pieces a model knows, each with its number. Those within a word begin with «##».

    FIRST, LAST and UNKNOWN must be among them.
    """

    numbers: Mapping[str, int]

    def encode(self, text: str, *, limit: int) -> list[int]:
        """The numbers of FIRST, the pieces of `text` and LAST, at most `limit`; none for a text without words."""
        pieces = chain.from_iterable(self._pieces_of(word) for word in words_of(text))
        numbers = [self.numbers[piece] for piece in islice(pieces, limit - 2)]
        return [self.numbers[FIRST], *numbers, self.numbers[LAST]] if numbers else []

    def _pieces_of(self, word: str) -> list[str]:
        """The longest piece `word` begins with, then the longest of what is left; UNKNOWN where there is none."""
        if len(word) > WORD_MAX_LENGTH:
            return [UNKNOWN]
        pieces: list[str] = []
        start = 0
        while start < len(word):
            end = next((end for end, piece in _beginnings(word, start) if piece in self.numbers), None)
            if end is None:
                return [UNKNOWN]
            pieces.append(_piece(word, start, end))
            start = end
        return pieces


def _beginnings(word: str, start: int) -> Iterator[tuple[int, str]]:
    """Each piece that could begin at `start`, with its end, the longest first."""
    return ((end, _piece(word, start, end)) for end in range(len(word), start, -1))


def _piece(word: str, start: int, end: int) -> str:
    return f"##{word[start:end]}" if start else word[:end]
