"""What servers say of their tools, for people who judge it: how two texts differ, and what can't be seen in one."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import takewhile

from chats.tools.discovery import differences
from chats.tools.models import Tool

# Of what is alike around a difference, so much shows where it is.
CONTEXT_CHARACTERS = 240

# They join letters and emoji in honest texts.
_JOINERS = frozenset("\u200c\u200d")
_VARIATIONS = range(0xE0100, 0xE01F0)
_PIECES = re.compile(r"\s+|[^\s]+")


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` was `before` and is `now`, between `head` and `tail`, which are alike in both."""

    what: str
    head: str
    before: str
    now: str
    tail: str

    @property
    def is_code(self) -> bool:
        """Whether its lines and columns say something."""
        return self.head.startswith("{") or self.before.startswith("{")


def compare(what: str, before: str, now: str) -> Difference:
    """Where two texts differ: from the first word that does to the last, and nothing of that is left out.

    Takes time in proportion to their length, whatever a server has written.
    """
    old, new = _PIECES.findall(before), _PIECES.findall(now)
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    head, tail = old[:first], old[len(old) - last :]
    return Difference(
        what,
        head=_end_of("".join(head)),
        before="".join(old[first : len(old) - last]),
        now="".join(new[first : len(new) - last]),
        tail=_beginning_of("".join(tail)),
    )


def shown_differences(tool: Tool) -> list[Difference]:
    """What its server says otherwise of a suspended tool than when it was accepted."""
    found = differences(tool) if tool.is_suspended else []
    return [compare(what, show_unseen(before), show_unseen(now)) for what, before, now in found]


def show_unseen(text: str) -> str:
    """`text` with a sign for each character that people don't see and models read."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"[U+{ord(sign):04X}]" if _is_unseen(sign) else sign for sign in text)


def _is_unseen(sign: str) -> bool:
    if sign in "\n\t\r" or sign in _JOINERS:
        return False
    return unicodedata.category(sign) in {"Cc", "Cf", "Cn", "Co"} or ord(sign) in _VARIATIONS


def _alike(one: list[str], other: list[str]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _end_of(text: str) -> str:
    return text if len(text) <= CONTEXT_CHARACTERS else "… " + text[-CONTEXT_CHARACTERS:]


def _beginning_of(text: str) -> str:
    return text if len(text) <= CONTEXT_CHARACTERS else text[:CONTEXT_CHARACTERS] + " …"
