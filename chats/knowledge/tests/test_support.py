"""What an answer says and its source does not is noticed; what it says in other words, or another language, is not."""

import time
from uuid import uuid4

import pytest

from chats.knowledge.support import citations_of, last_word

MANUAL = "The battery of the HX-9 lasts 24 months. It costs 1,250.00 euros. Ask Maria Lindner in Graz about repairs."
TERMS = "Refunds are paid within 14 days to the card that was used."
GERMAN = "Die Batterie hält zwei Jahre und kostet 12,50 Euro."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The battery lasts 24 months [1].", [True]),
        ("The battery lasts 36 months [1].", [False]),
        ("It costs 1250.00 euros [1]. Refunds take 14 days [2].", [True, True]),
        ("Refunds take 14 days [1].", [False]),
        ("Ask Maria Lindner in Graz [1].", [True]),
        ("For repairs ask Peter Huber [1].", [False]),
        ("Elephants migrate southwards during winter [1].", [False]),
        ("Die Batterie hält 24 Monate [1].", [True]),
        ("Sie kostet 12.50 Euro [3].", [True]),
        ("The battery lasts 24 months.[1][2]", [True, False]),
        ("Lasts 24 months and is refunded in 14 days [1, 2].", [True]),
        ("No marker, code `x[1]`, and a link [1](https://x.example).", []),
        ("- 24 months [1]\n- 14 days [2]\n", [True, True]),
        ("[1]", [True]),
        ("As said in [1]: 24 months. The battery lasts 36 months [1].", [True, False]),
        ("[1]: https://x.example\n\nIt lasts 24 months [1].", [True]),
        ("~~~\nx[1]\n~~~\nand\n\n    y[1]\n\nIt lasts 36 months [1].", [False]),
        ("Nothing is cited here [9].", [False]),
    ],
)
def test_a_sentence_is_held_against_its_passages(answer, expected):
    assert [found.is_supported for found in citations_of(answer, [MANUAL, TERMS, GERMAN])] == expected


def test_what_is_missing_is_named():
    (found,) = citations_of("The HX-9 lasts 36 months, says Otto Berg [1].", [MANUAL])
    assert set(found.missing) == {"36", "Otto", "Berg"}


# ---------------------------------------------------------------- what it costs
LONG = "The battery of station 7 lasts 24 months in Graz. " * 1_600
HEAVY = {
    "many markers": ("a [1] " * 16_000, [LONG]),
    "many sentences": ("".join(f"w{number} [1] " for number in range(9_000)), [LONG]),
    "one long sentence": ("word " * 20_000 + "[1]" * 5_000, [LONG]),
    "one long sentence, many numbers": (
        "word " * 14_000 + "".join(f"[{n},{n % 59}]" for n in range(60)) * 50,
        [LONG] * 60,
    ),
    "markers with many numbers": (f"a [{','.join(map(str, range(1, 400)))}] " * 60, [LONG[:2_400]] * 400),
    "a long number": ("1." * 50_000 + "[1]", [LONG]),
    "capitals": ("Aa" * 50_000 + "[1]", [LONG]),
    "names": ("x Abc " * 16_000 + "[1]", [LONG]),
    "ends of sentences": (".)" * 50_000 + "[1]", [LONG]),
    "dots": ("." * 100_000 + "[1]", [LONG]),
    "links": ("](" * 50_000 + "[1]", [LONG]),
    "a passage of numbers": ("1 [1] " * 10_000, ["1." * 100_000]),
    "a passage of one word": ("aaaaaa [1] " * 9_000, ["a" * 200_000]),
    "long passages": ("a1 [1] " * 10_000, [LONG] * 12),
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_answer_costs_no_more_than_its_length(name):
    """Less than a tenth of a second; what grows with the product of answer and passages takes minutes."""
    answer, passages = HEAVY[name]
    start = time.thread_time()
    citations_of(answer, passages)
    assert time.thread_time() - start < 2


def test_what_was_found_is_remembered_for_the_same_answer_and_passages():
    answer, passages = f"The battery {uuid4()} lasts 24 months [1].", [MANUAL, TERMS]
    found = citations_of(answer, passages)
    assert citations_of(answer, list(passages)) is found
    assert citations_of(answer, [MANUAL + TERMS, ""]) is not found
    assert [mark.is_supported for mark in citations_of("It lasts 24 months [1].", ["It lasts 24 months.", ""])] == [
        True
    ]
    assert [mark.is_supported for mark in citations_of("It lasts 24 months [1].", ["It lasts", " 24 months."])] == [
        False
    ]


def test_what_is_too_long_for_a_look_is_not_doubted():
    beyond, within = "x " * 100_001, "Nothing of it."
    said = "It lasts 36 months [{}]."
    assert [found.is_supported for found in citations_of(said.format(1) + said.format(2), [beyond, within])] == [
        True,
        False,
    ]
    (found,) = citations_of("so " * 1_000 + "36 months [1].", [MANUAL])
    assert found.is_supported
    many = citations_of("".join(f"It lasts {number} months [1]. " for number in range(2_000, 3_500)), [MANUAL])
    assert [found.is_supported for found in many] == [False] * 1_000 + [True] * 500


def test_halves_of_characters_are_no_trouble():
    (found,) = citations_of("\ud800 lasts [1].", ["\udfff lasts"])
    assert found.is_supported


@pytest.mark.parametrize(
    ("before", "word"),
    [
        ("It lasts 24 **months** ", "months"),
        ("Größe", "Größe"),
        ("in «Graz»… ", "Graz"),
        ("", ""),
        ("a" * 100, "a" * 12),
        ("snake_case", "case"),
    ],
)
def test_a_marker_is_known_by_the_word_before_it(before, word):
    assert last_word(before) == word


def test_a_link_before_a_marker_is_its_words_not_its_address():
    (found,) = citations_of("Ask [Maria](https://example.org/people) [1].", [MANUAL])
    assert found.place == "Maria"
