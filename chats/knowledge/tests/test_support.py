"""What an answer says and its source does not is noticed; what it says in other words, or another language, is not."""

import pytest

from chats.knowledge.support import citations_of

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
        ("Nothing is cited here [9].", [False]),
    ],
)
def test_a_sentence_is_held_against_its_passages(answer, expected):
    assert [found.is_supported for found in citations_of(answer, [MANUAL, TERMS, GERMAN])] == expected


def test_what_is_missing_is_named():
    (found,) = citations_of("The HX-9 lasts 36 months, says Otto Berg [1].", [MANUAL])
    assert set(found.missing) == {"36", "Otto", "Berg"}
