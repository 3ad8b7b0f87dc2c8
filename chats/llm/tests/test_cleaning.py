"""Whatever characters a provider sends, the text can be stored and sent on, the same everywhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chats.llm.cleaning import TextCleaner, clean
from chats.llm.tests.conftest import Ask
from chats.llm.tests.fake_provider import Script


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\x00b"], "a\ufffdb"),
        (["\ud83d\ude00"], "😀"),
        (["\ud83d", "\ude00"], "😀"),
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["\ud83d", "x"], "\ufffdx"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
        (["\ud83d"], "\ufffd"),
        (["\ude00\ud83d"], "\ufffd\ufffd"),
        (["日本", "語 🎉"], "日本語 🎉"),
        (["\ufeff\u202e\ufffe"], "\ufeff\u202e\ufffe"),
    ],
)
@pytest.mark.parametrize("channel", ["content", "reasoning_content"])
async def test_escapes_of_half_characters_and_nul(ask: Ask, pieces: list[str], text: str, channel: str) -> None:
    script = Script(chunks=pieces) if channel == "content" else Script(text="", reasoning=pieces)
    outcome = await ask(script)
    assert (outcome.text or outcome.reasoning) == text
    assert outcome.finish == "stop"


async def test_broken_utf8_costs_a_character_and_not_the_answer(ask: Ask) -> None:
    line = b'data: {"choices": [{"delta": {"content": "a\xff\xed\xa0\x80b"}, "finish_reason": "stop"}]}\n\n'
    text = (await ask(Script(raw=[line]))).text
    assert text.strip("\ufffd") == text
    assert (text[0], text[-1]) == ("a", "b")
    assert set(text[1:-1]) == {"\ufffd"}


async def test_characters_split_over_writes_are_whole(ask: Ask) -> None:
    line = 'data: {"choices": [{"delta": {"content": "Grüße 😀"}, "finish_reason": "stop"}]}\n\n'.encode()
    assert (await ask(Script(raw=[line[i : i + 1] for i in range(len(line))]))).text == "Grüße 😀"


any_text = st.text(st.characters(codec=None, categories=None))


@given(st.lists(any_text, max_size=6))
def test_pieces_come_out_as_their_whole_would(pieces: list[str]) -> None:
    cleaner = TextCleaner()
    got = "".join(cleaner.clean(piece) for piece in pieces) + cleaner.end()
    assert got == clean("".join(pieces))
    got.encode()
    assert "\x00" not in got


@given(any_text)
def test_what_json_says_twice_is_the_same(text: str) -> None:
    assert clean(json.loads(json.dumps(text))) == clean(clean(text)) == clean(text)
