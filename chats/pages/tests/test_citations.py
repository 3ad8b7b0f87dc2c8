"""Markers in an answer become links to its sources, and a doubt stands behind the marker it is about, and no other."""

import re
import time
from html import unescape

import pytest
from django.test import Client
from django.utils.safestring import SafeString

from accounts.models import User
from chats.llm.passages import markers_in, numbers_in
from chats.models import Chat, Message
from chats.pages.citations import Source, linked, sources_of
from chats.pages.markdown import plain, render

MANUAL = "The battery lasts 24 months. Ask Maria Lindner about repairs."
TERMS = "Refunds are paid within 14 days."
SOURCES = [
    Source(number, f"{number}.md", None, text, "", f"/documents/{number}", True)
    for number, text in enumerate((MANUAL, TERMS), 1)
]
_MARK = re.compile(r'<a class="citation"[^>]*>(\d)</a>(<span class="doubt".*?\(.*?\)</span></span>)?')


def shown(content: str, sources: list[Source] = SOURCES) -> str:
    """The text of `content` as a page has it, a link as `{1}` and one in doubt as `{1?}`."""
    html = linked(render(content), sources, content=content)
    html = _MARK.sub(lambda mark: f"{{{mark[1]}{'?' if mark[2] else ''}}}", html)
    return unescape(re.sub("<[^>]*>", "", html)).strip()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("It lasts 24 months [1]. Refunds take 14 days [2].", "It lasts 24 months {1}. Refunds take 14 days {2}."),
        ("It lasts 24 months [1][2].", "It lasts 24 months {1}{2?}."),
        ("It lasts 24 months [1, 2].", "It lasts 24 months {1}{2}."),
        ("It lasts 36 months [1] and [7].", "It lasts 36 months {1?} and [7]."),
        (
            "As said in [1]: 24 months. The battery lasts 36 months [1].",
            "As said in {1}: 24 months. The battery lasts 36 months {1?}.",
        ),
        ("`x[1]` has 24 months [1], `y[1]` 36 months [1].", "x[1] has 24 months {1}, y[1] 36 months {1?}."),
        (
            "~~~\n36 months [1]\n~~~\n24 months [1]\n\n    36 months [1]\n\n36 months [1]",
            "36 months [1]\n\n24 months {1}\n36 months [1]\n\n36 months {1?}",
        ),
        ("A lone ` quote: 24 months [1], 36 months [1].", "A lone ` quote: 24 months {1}, 36 months {1?}."),
        (
            "[36 months [1]](https://example.org) or 24 months [1], 36 months [1]",
            "36 months [1] or 24 months {1}, 36 months {1?}",
        ),
        ("Ask [Peter Huber](https://example.org/24) [1].", "Ask Peter Huber {1?}."),
        ("It lasts **36 months** [1].", "It lasts 36 months {1?}."),
        ("36 &amp; more [1], <36 months> [1]", "36 & more {1?}, <36 months> {1?}"),
        ("1. 36 months [1]\n2. 24 months [1]", "36 months {1?}\n24 months {1}"),
        ("| 36 months [1] | 24 months [1] |\n|---|---|\n| 24 months [1] | 14 days [1] |", None),
        ("[1]: https://example.org\n\n36 months [1]", "36 months 1"),
    ],
)
def test_a_doubt_stands_behind_its_own_marker(content: str, expected: str | None) -> None:
    if expected is None:
        assert re.findall(r"\{.*?\}", shown(content)) == ["{1?}", "{1}", "{1}", "{1?}"]
    else:
        assert shown(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        "```\n[1]\n```\n[2] ~~~ [3]\n~~~\n[4]\n~~~\n[5]",
        "text\n    more [1]\n\n    code [2]\n\n- item [3]\n\n    still [4]\n\n      deeper [5]\n\n          code [6]",
        "> ```\n> [1]\n\n[2]\n\n1. one\n   ```\n   [3]\n   ```\n   [4]\n\n```\n[5]",
        "# `a [1]\n[2]` ``b [3]`` \\`[4]` ``` [5] ` [6]\n\n` [7]",
    ],
)
def test_a_page_has_the_markers_that_the_text_has(content: str) -> None:
    sources = [Source(number, "a", None, "", "", "/", True) for number in range(1, 8)]
    links = re.findall(r"\{(\d)", shown(content, sources))
    assert [int(number) for number in links] == [number for mark in markers_in(content) for number in numbers_in(mark)]


def test_what_is_shown_as_plain_text_has_its_links_too() -> None:
    content = "Lasts 36 months [1] <b>."
    html = linked(plain(content), SOURCES, content=content)
    assert _MARK.search(html)[2]
    assert "&lt;b&gt;" in html


def test_without_sources_nothing_changes() -> None:
    html = render("It lasts 24 months [1].")
    assert linked(html, [], content="It lasts 24 months [1].") is html


@pytest.mark.parametrize("content", ["a [1] " * 16_000, "[1]" * 30_000, "word " * 20_000 + "[1]", "[" * 100_000])
def test_links_cost_no_more_than_the_length_of_the_text(content: str) -> None:
    html = SafeString(f"<p>{content}</p>")
    start = time.thread_time()
    linked(html, SOURCES, content=content)
    assert time.thread_time() - start < 2


@pytest.mark.django_db
def test_a_chat_shows_its_sources_and_what_is_doubtful(client: Client, owner: User) -> None:
    chat = Chat.objects.create(user=owner)
    content = "In `a[2]`: it lasts 36 months [1]."
    sources = [{"name": "manual.md", "text": MANUAL}, {"name": "terms.md", "text": None}]
    message = Message.objects.create(chat=chat, role="assistant", content=content, sources=sources)
    chat.current_leaf = message
    chat.save(update_fields=["current_leaf"])
    client.force_login(owner)
    page = client.get(f"/chats/{chat.pk}/").content.decode()
    assert "Not there: 36." in page
    assert [source.is_cited for source in sources_of(message)] == [True, False]
