"""Formatted text is readable, harmless and bounded, whatever a model writes."""

import time
from html.parser import HTMLParser

import pytest

from chats.pages import markdown
from chats.pages.tests.payloads import HEAVY, PAYLOADS

pytestmark = pytest.mark.rowless

QUICK_SECONDS = 0.05
# One rule may be under way when the time is over.
BOUND_SECONDS = 0.6
SPENT = markdown.Budget(ends_at=0)
ATTRIBUTES = {
    "a": {"href", "title", "rel", "target", "class"},
    "ol": {"start"},
    "pre": {"data-language", "tabindex"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "td": {"class"},
    "th": {"class"},
}


class Inventory(HTMLParser):
    """Every tag and attribute of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("text", PAYLOADS)
def test_nothing_but_harmless_tags_comes_out(text: str) -> None:
    found = Inventory(markdown.render(text))
    assert {tag for tag, _ in found.tags} <= markdown.TAGS
    for tag, attributes in found.tags:
        assert set(attributes) <= ATTRIBUTES.get(tag, set()), (tag, attributes)
    for link in found.all("a"):
        assert str(link.get("href", "https://")).lower().startswith(("http://", "https://", "mailto:"))
        assert (link["rel"], link["target"]) == ("noopener noreferrer nofollow ugc", "_blank")


@pytest.mark.parametrize("name", HEAVY)
def test_a_dear_text_is_shown_in_bounded_time_and_whole(name: str) -> None:
    start = time.thread_time()
    html = markdown.render(HEAVY[name], budget=markdown.Budget(start + QUICK_SECONDS))
    assert time.thread_time() - start < BOUND_SECONDS
    if "plain-note" in html:
        assert Inventory(html).text.startswith(HEAVY[name].strip("\0")[:1000])


def test_deep_nesting_loses_nothing() -> None:
    assert "innermost" in markdown.render(">" * 60 + " innermost")


def test_too_long_a_text_is_plain() -> None:
    html = markdown.render("**bold** " * 25_000)
    assert "plain-note" in html
    assert "<strong>" not in html


def test_a_picture_becomes_a_link_that_names_its_host() -> None:
    (link,) = Inventory(markdown.render("![A chart](https://charts.example.com/a.png)")).all("a")
    assert link["href"] == "https://charts.example.com/a.png"
    assert "A chart: image from charts.example.com" in markdown.render("![A chart](https://charts.example.com/a.png)")
    assert "Image from charts.example.com" in markdown.render("![](https://charts.example.com/a.png)")


def test_a_host_nobody_can_read_is_elsewhere() -> None:
    assert "image from elsewhere" in markdown.render("![a](mailto:a@example.org)")
    assert "image from elsewhere" in markdown.render("![a](http://[:]///)")


def test_code_carries_its_language() -> None:
    html = markdown.render("```python\nprint('<b>')\n```")
    assert '<pre tabindex="0" data-language="python"><code>print(\'&lt;b&gt;\')\n</code></pre>' in html


def test_headings_stay_below_those_of_the_page() -> None:
    assert markdown.render("# One\n\n## Two\n\n##### Five") == "<h3>One</h3>\n<h4>Two</h4>\n<h6>Five</h6>\n"


def test_a_table_scrolls_in_itself_and_aligns_without_inline_style() -> None:
    html = markdown.render("| a | b |\n|--:|---|\n| 1 | 2 |")
    assert '<div class="table-scroll" tabindex="0" role="group" aria-label="Table"><table>' in html
    assert '<td class="align-right">1</td>' in html
    assert "style" not in html


def test_line_breaks_and_addresses_work_as_typed() -> None:
    html = markdown.render("one\ntwo https://example.org/x")
    assert 'one<br>\ntwo <a href="https://example.org/x"' in html
    assert "<a" not in markdown.render("example.org is no address")


def test_what_was_formatted_is_remembered() -> None:
    first = markdown.render("remember *this*")
    assert markdown.render("remember *this*", budget=SPENT) == first


def test_a_page_in_a_hurry_does_not_make_a_text_plain_for_ever() -> None:
    assert "plain-note" in markdown.render("*soon*", budget=SPENT)
    assert markdown.render("*soon*") == "<p><em>soon</em></p>\n"
