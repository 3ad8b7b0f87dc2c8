"""Where the headings of a Markdown text are, and under which of them a place in it is."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

PATH_MAX_LENGTH = 200
SEPARATOR = " > "

# A line that opens or closes a block of code, a heading marked by #, or a line underlined by === or ---.
_LINE = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})(?P<info>.*)"
    r"|(?P<marks>#{1,6})(?=[ \t])(?P<title>.*)"
    r"|(?P<over>[^\s>#|`~+*=-].*)\n {0,3}(?P<under>=+|-{3,})[ \t]*)$",
    re.MULTILINE,
)
_FRONT_MATTER = re.compile(r"---\n(?:.*\n){0,200}?(?:---|\.\.\.)(?:\n|$)")
_LINK = re.compile(r"!?\[([^\[\]]{0,200})\]\([^()\s]{0,2000}\)")


@dataclass(frozen=True)
class Heading:
    start: int  # of its line, in characters
    end: int
    path: str


class Outline:
    """The headings of `text`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._headings = list(_headings(text))
        self._starts = [heading.start for heading in self._headings]

    def path_at(self, start: int) -> str:
        """The headings above what stands at `start`, or that it begins with: «Warranty > Batteries»; "" for none."""
        at = bisect_right(self._starts, start) - 1
        while at + 1 < len(self._headings) and self._only_headings_between(start, self._headings[at + 1]):
            at += 1
            start = self._headings[at].end
        return self._headings[at].path if at >= 0 else ""

    def _only_headings_between(self, start: int, heading: Heading) -> bool:
        """Whether nothing but blanks, or the heading that `start` is in, comes before `heading`."""
        at = bisect_right(self._starts, start) - 1
        if at >= 0 and start < self._headings[at].end:
            start = self._headings[at].end
        return not self._text[start : heading.start].strip()


def _headings(text: str) -> Iterator[Heading]:
    path: list[tuple[int, str]] = []
    for line, level, title in _marked_lines(text):
        path = [(above, words) for above, words in path if above < level] + [(level, title)]
        yield Heading(line.start(), line.end(), _joined([words for _, words in path]))


def _marked_lines(text: str) -> Iterator[tuple[re.Match[str], int, str]]:
    fence = ""
    front = _FRONT_MATTER.match(text)
    for line in _LINE.finditer(text, front.end() if front else 0):
        if line["fence"]:
            fence = _fence_after(fence, line)
        elif not fence and (title := _plain(line["title"] or line["over"] or "")):
            level = len(line["marks"]) if line["marks"] else (1 if line["under"].startswith("=") else 2)
            yield line, level, title


def _fence_after(fence: str, line: re.Match[str]) -> str:
    """The fence that is open after this line: a longer one, or one that says a language, does not close another."""
    if not fence:
        return line["fence"]
    return "" if line["fence"].startswith(fence) and not line["info"].strip() else fence


def _plain(title: str) -> str:
    """The words of a heading, without what makes them bold or a link."""
    words = title[: 4 * PATH_MAX_LENGTH].strip().rstrip("#")
    words = _LINK.sub(r"\1", words).replace("**", "").replace("`", "")
    return " ".join(words.split())[:PATH_MAX_LENGTH]


def _joined(titles: list[str]) -> str:
    """The nearest of them, as many as there is room for."""
    while len(path := SEPARATOR.join(titles)) > PATH_MAX_LENGTH and len(titles) > 1:
        titles = titles[1:]
    return path
