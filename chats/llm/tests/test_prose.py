"""What of a Markdown text is code, where a number in brackets is no marker; and that telling it costs little."""

import time

import pytest

from chats.llm.passages import Markers, cited_in
from chats.llm.prose import without_code
from chats.llm.tests.test_passages import through

pytestmark = pytest.mark.rowless

CODE = [
    "`x[7]`",
    "``x[7] ` y[7]``",
    "`over two\nlines [7]`",
    "```\nx[7]\n```",
    "```py [7]\nx[7]\n\ny[7]\n```",
    "````\n```\nx[7]\n```\n````",
    "~~~\nx[7]\n```\ny[7]\n~~~~",
    "~~~ `[7]` ~~~\nx[7]\n~~~",
    "  ```\n  not closed x[7]\n\ny[7]",
    "text\n\n    x[7]\n\n    y[7]",
    "\tx[7]",
    "- one\n  ```\n  x[7]\n  ```",
    "1. one\n\n   ~~~\n   x[7]\n   ~~~",
    "- ```\n  x[7]\n  ```",
    "- one\n\n      x[7]",
    "> ```\n> x[7]\n> ```",
    r"`x\` and `[7]`",
]
PROSE = [
    "a lone ` quote [7]",
    "`two `` that are [7] not ``` alike",
    "a lone ` quote\n\n`before` a paragraph [7]` ",
    "# A lone `\n[7] `",
    r"escaped \`[7]` quote",
    r"`C:\` [7] `x`",
    "text\n    that goes on [7]",
    "- one\n\n    still of it [7]",
    "- one\n  - two\n\n    still of it [7]",
    "```\ncode\n```\n[7]",
    "~~~\ncode\n~~~ no end\n~~~\n[7]",
    "> ```\n> code\n\n[7]",
    "- ```\n  code\n\n[7]",
    "``` not ` a fence\n[7]",
    "| a ` | b |\n| ` | [7] |",
]


@pytest.mark.parametrize("text", CODE)
def test_what_is_code_has_no_markers(text):
    assert cited_in(text) == set()
    assert {through(text, 3, seed=seed) for seed in range(20)} == {text}


@pytest.mark.parametrize("text", PROSE)
def test_what_only_looks_like_code_has(text):
    assert cited_in(text) == {7}
    # The blank before a marker goes with it.
    without = text.replace(" [7]", "").replace("[7]", "")
    if not text.startswith("``` not"):  # what may be a fence is taken for one until its line is over
        assert {through(text, 3, seed=seed) for seed in range(20)} == {without}


def test_what_is_not_code_is_kept_letter_for_letter():
    text = "One\r\n\n  two `` three\n\n\n- four *five*  \n"
    assert without_code(text) == text


def test_a_false_marker_behind_a_lone_quote_waits_for_the_end_of_its_paragraph_and_no_longer():
    markers = Markers(2)
    assert markers.take("A ` quote. Words [1] go on. ") == "A ` quote. Words [1] go on."
    assert markers.take("False [9]. And then") == " False"
    assert markers.take(" ``x [8]`` on.\n") == ""
    assert markers.take("\nNext [9]. ") == ". And then ``x [8]`` on.\n\nNext."


def test_it_does_not_wait_for_ever():
    markers = Markers(2)
    assert markers.take("A ` quote [9] goes ") == "A ` quote"
    assert len(markers.take("on " * Markers.HELD_MAX)) > Markers.HELD_MAX
    assert markers.take("\n\nNext [9]. ") == " \n\nNext."


def test_a_stream_goes_on_in_the_code_it_stopped_in():
    markers = Markers(2, after="Thus:\n```py\nx = y[9]")
    assert markers.take("[8]\n```\nand [9].") + markers.end() == "[8]\n```\nand."


HEAVY = {
    "a long run of backquotes": "`" * 4_000 + "a" * 90_000,
    "a third of it backquotes": "`" * 30_000 + "a" * 60_000,
    "runs of all lengths": "".join("`" * length + "a" for length in range(440)),
    "lone backquotes": " ".join("`" * (length % 50 + 1) + "a[9]" for length in range(4_000)),
    "pairs": "`a[9]` [9] " * 9_000,
    "brackets": "[" * 100_000,
    "open markers": "[1," * 33_000,
    "blanks in brackets": ("[1" + " " * 5_000) * 20,
    "numbers": "[" + "1, " * 33_000 + "1]",
    "markers": "[9]" * 33_000,
    "backslashes": "\\" * 100_000 + "`",
    "backslashes and quotes": "\\`" * 50_000,
    "empty lines": "\n" * 100_000,
    "quotes": ">" * 100_000,
    "items": "- " * 50_000,
    "nested items": "".join("  " * level + "- a\n" for level in range(300)),
    "tildes": "~" * 100_000,
    "fences": "```\n~~~\n" * 12_000,
    "blanks": " " * 100_000,
    "tabs": "\t" * 100_000,
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_text_costs_no_more_than_its_length(name):
    """Tens of milliseconds, half a second at most; what grows with the square takes minutes."""
    text = HEAVY[name]
    start = time.thread_time()
    cited_in(text)
    whole, in_pieces = Markers(3), Markers(3)
    out = whole.take(text) + whole.end()
    pieces = [in_pieces.take(text[at : at + 7]) for at in range(0, len(text), 7)]
    assert time.thread_time() - start < 3
    if name != "numbers":  # a marker that long is known only in one piece
        assert "".join(pieces) + in_pieces.end() == out
