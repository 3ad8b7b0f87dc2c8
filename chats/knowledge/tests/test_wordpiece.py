"""Words come in the pieces a model was trained with; a made-up vocabulary shows how."""

import pytest

from chats.knowledge.wordpiece import Vocabulary, words_of

PIECES = [
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "wind",
    "##mill",
    "##s",
    "un",
    "##wind",
    "grosse",
    "a",
    "北",
    "[",
    "]",
    ".",
]
VOCABULARY = Vocabulary({piece: number for number, piece in enumerate(PIECES)})


def pieces_of(text, *, limit=20):
    return [PIECES[number] for number in VOCABULARY.encode(text, limit=limit)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wind  MILLS\n", ["wind", "mills"]),
        ("café Ångström İstanbul", ["cafe", "angstrom", "istanbul"]),
        ("ΟΔΟΣ", ["οδοσ"]),
        ("don't: 3.14 $5", ["don", "'", "t", ":", "3", ".", "14", "$", "5"]),
        ("«so» 5° 10€", ["«", "so", "»", "5°", "10€"]),
        ("北京 tea", ["北", "京", "tea"]),
        ("soft\u00adhyphen no\u00a0break \u200bzero\x00 \ufffd", ["softhyphen", "no", "break", "zero"]),
    ],
)
def test_words_are_folded_and_punctuation_and_ideographs_stand_alone(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Windmills", ["wind", "##mill", "##s"]),
        ("unwind a", ["un", "##wind", "a"]),
        ("windy wind", ["[UNK]", "wind"]),
        ("a" * 101, ["[UNK]"]),
        ("wind.北", ["wind", ".", "北"]),
    ],
)
def test_a_word_is_its_longest_known_pieces_or_unknown(text, pieces):
    assert pieces_of(text) == ["[CLS]", *pieces, "[SEP]"]


def test_a_long_text_is_cut_and_still_ends():
    assert pieces_of("wind " * 50, limit=5) == ["[CLS]", "wind", "wind", "wind", "[SEP]"]


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_a_text_without_words_has_no_pieces(text):
    assert pieces_of(text) == []


def test_a_text_cannot_end_itself():
    assert pieces_of("wind [SEP] a") == ["[CLS]", "wind", "[", "[UNK]", "]", "a", "[SEP]"]
