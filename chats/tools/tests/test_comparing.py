"""What people see of a difference, and of characters that hide."""

import time

from hypothesis import given
from hypothesis import strategies as st

from chats.tools.comparing import CONTEXT_CHARACTERS, compare, show_unseen

words = st.lists(st.sampled_from(["a", "bb", " ", "\n", "{", "send"]), max_size=30).map("".join)


@given(words, words)
def test_both_texts_can_be_read_from_a_difference(before: str, now: str) -> None:
    found = compare("text", before, now)
    assert found.head + found.before + found.tail == before
    assert found.head + found.now + found.tail == now
    assert (found.before, found.now) == ("", "") if before == now else found.before != found.now


def test_what_differs_is_shown_whole_and_what_is_alike_is_cut() -> None:
    same = "word " * 500
    found = compare("text", same + "old" + same, same + "new " * 3_000 + same)
    assert found.now.startswith("new")
    assert len(found.now) >= 4 * 3_000
    assert len(found.head) == len(found.tail) == CONTEXT_CHARACTERS + 2
    assert (found.head[0], found.tail[-1]) == ("…", "…")


def test_no_two_texts_take_long() -> None:
    began = time.thread_time()
    compare("text", "0,\n" * 50_000, "0,\n1,\n" * 40_000)
    assert time.thread_time() - began < 2


def test_characters_that_hide_are_shown_and_others_stay() -> None:
    assert (
        show_unseen("Größe \U0001f468\u200d\U0001f469 \u05e9\nline\tend")
        == "Größe \U0001f468\u200d\U0001f469 \u05e9\nline\tend"
    )
    assert show_unseen("a\u200bb\u202ec\U000e0041d\x00\U000e0101") == "a[U+200B]b[U+202E]c[U+E0041]d[U+0000][U+E0101]"
