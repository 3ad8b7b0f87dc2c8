"""Text of a model made readable, and nothing more: no script, form, style, frame or request comes out of it.

markdown-it-py without raw HTML, then an allow-list. `chats/static/chats/js/markdown.js` does the same in the browser
while an answer is streaming; a test holds the two together. What is too dear to format is shown as plain text.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any, Final
from urllib.parse import urlsplit

import nh3
from django.core.cache import cache
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

MAX_BYTES: Final = 200_000
MAX_NESTING: Final = 50
MAX_CELLS: Final = 10_000
MAX_BLOCKS: Final = 20_000
# CPU time of this thread, not the clock: a busy machine must not change what an answer looks like.
TEXT_SECONDS: Final = 0.25
PAGE_SECONDS: Final = 1.0
CACHED_SECONDS: Final = 24 * 3600
# Raise it when the output of the same text changes.
CACHE_VERSION: Final = 1

BEGINNINGS: Final = ("http://", "https://", "mailto:")
TAGS: Final = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"),
    *("s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}, "pre": {"data-language"}}
ATTRIBUTE_VALUES: Final = {
    "a": {"class": {"image-link"}},
    "div": {"class": {"code", "table-scroll"}, "tabindex": {"0"}, "role": {"group"}, "aria-label": {"Table"}},
    "pre": {"tabindex": {"0"}},
    "td": {"class": {"align-left", "align-center", "align-right"}},
    "th": {"class": {"align-left", "align-center", "align-right"}},
}
LANGUAGE: Final = re.compile(r"[A-Za-z0-9+#._-]{1,30}")

Env = MutableMapping[str, Any]
_own = threading.local()


class TooDear(Exception):
    """Formatting this text costs more than it is worth."""


@dataclass(frozen=True)
class Budget:
    """CPU seconds this thread may still spend on a page."""

    ends_at: float

    @classmethod
    def of_page(cls) -> "Budget":
        return cls(time.thread_time() + PAGE_SECONDS)


def render(text: str, *, budget: Budget | None = None) -> SafeString:
    """`text` as HTML. What can't be formatted within the limits comes as plain text with a note."""
    key = f"markdown:{CACHE_VERSION}:{hashlib.blake2b(text.encode(), digest_size=20).hexdigest()}"
    known = cache.get(key)
    if known is not None:
        return SafeString(known)
    ends_at = time.thread_time() + TEXT_SECONDS
    is_pressed = budget is not None and budget.ends_at < ends_at
    html, is_formatted = _render_within(text, budget.ends_at if budget and is_pressed else ends_at)
    if is_formatted or not is_pressed:
        # Plain because the page was in a hurry: the next page may have the time.
        cache.set(key, str(html), CACHED_SECONDS)
    return html


def excerpt(text: str, *, length: int) -> str:
    """The beginning of `text` as it reads when it is formatted, on one line of at most `length` characters."""
    # Marks go away, so more is looked at than is shown.
    words = unescape(strip_tags(render(text[: 10 * length]))).split()
    return Truncator(" ".join(words)).chars(length)


def _render_within(text: str, ends_at: float) -> tuple[SafeString, bool]:
    try:
        return _formatted(text, ends_at), True
    except TooDear:
        return plain(text), False


def plain(text: str) -> SafeString:
    return format_html(
        '<div class="plain" tabindex="0" role="group" aria-label="Plain text">{}</div>'
        '<p class="plain-note">Shown as plain text: formatting it would take too long.</p>',
        text,
    )


def _formatted(text: str, ends_at: float) -> SafeString:
    if len(text.encode()) > MAX_BYTES:
        raise TooDear
    parser = _parser()
    env: Env = {"ends_at": ends_at}
    tokens = parser.parse(text, env)
    _check_size(tokens)
    html = parser.renderer.render(tokens, parser.options, env)
    return SafeString(_cleaner.clean(html))


def _check_size(tokens: Sequence[Token]) -> None:
    cells = sum(token.type in ("td_open", "th_open") for token in tokens)
    depth = max((child.level for token in tokens for child in token.children or ()), default=0)
    if cells > MAX_CELLS or len(tokens) > MAX_BLOCKS or depth > MAX_NESTING:
        raise TooDear


# ---------------------------------------------------------------- parsing
def _parser() -> MarkdownIt:
    """This thread's parser: its link finder keeps the text it looks at."""
    if not hasattr(_own, "parser"):
        _own.parser = _new_parser()
    return _own.parser


def _new_parser() -> MarkdownIt:
    # Its own limit of nesting leaves text out without a word; ours comes first.
    options = {"html": False, "linkify": True, "breaks": True, "maxNesting": 2 * MAX_NESTING}
    parser = MarkdownIt("js-default", options)
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    parser.validateLink = _is_allowed_link  # type: ignore[method-assign]
    # In every chain of rules: a table asks for the ends of its rows in that of the block quote.
    chains = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("table", "watch", _watch_block, {"alt": chains})
    parser.inline.ruler.before("text", "watch", _watch_inline)
    parser.core.ruler.before("linkify", "watch", lambda state: _watch(state.env))
    for name, rule in _RULES.items():
        parser.add_render_rule(name, rule)
    return parser


def _is_allowed_link(url: str) -> bool:
    # Only whole addresses: a relative one would lead into our own pages under a foreign name.
    return url.strip().lower().startswith(BEGINNINGS)


def _watch(env: Env) -> None:
    if time.thread_time() > env["ends_at"]:
        raise TooDear


def _watch_block(state: StateBlock, *_: Any) -> bool:
    _watch(state.env)
    if state.level > MAX_NESTING:
        raise TooDear
    return False


def _watch_inline(state: StateInline, *_: Any) -> bool:
    _watch(state.env)
    return False


# ---------------------------------------------------------------- writing
Tokens = Sequence[Token]


def _heading(renderer: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    # The page's title is h1, the name above a message h2.
    tokens[index].tag = f"h{min(int(tokens[index].tag[1]) + 2, 6)}"
    return renderer.renderToken(tokens, index, options, env)


def _code(_renderer: RendererHTML, tokens: Tokens, index: int, *_: Any) -> str:
    language = tokens[index].info.strip().partition(" ")[0]
    named = format_html(' data-language="{}"', language) if LANGUAGE.fullmatch(language) else ""
    code = format_html("<code>{}</code>", tokens[index].content)
    return f'<div class="code"><pre tabindex="0"{named}>{code}</pre></div>\n'


def _image(renderer: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    """A link that says where the picture is. Loading it would tell that host who reads what."""
    token = tokens[index]
    address = str(token.attrGet("src") or "")
    words = renderer.renderInlineAsText(token.children, options, env).strip()
    label = f"{words}: image from {_host_of(address)}" if words else f"Image from {_host_of(address)}"
    return format_html('<a class="image-link" href="{}">{}</a>', address, label)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or "elsewhere"
    except ValueError:
        return "elsewhere"


def _table_open(*_: Any) -> str:
    return '<div class="table-scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _cell(renderer: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    """Alignment comes as an inline style, which the page's policy forbids: a class says the same."""
    style = str(tokens[index].attrs.pop("style", ""))
    if style:
        tokens[index].attrs["class"] = f"align-{style.removeprefix('text-align:')}"
    return renderer.renderToken(tokens, index, options, env)


_RULES: Final[dict[str, Callable[..., Any]]] = {
    "heading_open": _heading,
    "heading_close": _heading,
    "fence": _code,
    "code_block": _code,
    "image": _image,
    "table_open": _table_open,
    "table_close": _table_close,
    "th_open": _cell,
    "td_open": _cell,
}

_cleaner: Final = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    tag_attribute_values=ATTRIBUTE_VALUES,
    set_tag_attribute_values={"a": {"target": "_blank"}},
    link_rel="noopener noreferrer nofollow ugc",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    strip_comments=True,
)
