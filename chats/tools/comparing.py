"""What servers say of their tools, for people who judge it: how two texts differ, and what can't be seen in one."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import takewhile

from chats.tools.discovery import differences
from chats.tools.models import Tool

# Of what is alike around a difference, so much shows where it is.
CONTEXT_CHARACTERS = 240

# They join letters and emoji in honest texts; beside plain letters they join nothing.
_JOINERS = frozenset("\u200c\u200d")
# Letters and marks by their kind, which nobody sees: fillers, and signs that choose between forms.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
_ODD = re.compile(r"[^\x20-\x7e\n\t\r]")
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
    """`text` with a sign for each character that models read and people don't see, or see turned round by it."""
    return _ODD.sub(_sign_for, text)


def _sign_for(found: re.Match[str]) -> str:
    return f"[U+{ord(found[0]):04X}]" if _is_unseen(found[0], beside=_beside(found)) else found[0]


def _beside(found: re.Match[str]) -> str:
    """The characters before and after it."""
    text, at = found.string, found.start()
    return text[max(0, at - 1) : at] + text[at + 1 : at + 2]


def _is_unseen(sign: str, *, beside: str) -> bool:
    if sign in _JOINERS:
        return len(beside) < 2 or any(letter.isascii() for letter in beside)
    return unicodedata.category(sign) in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"} or _BLANK.match(sign) is not None


def _alike(one: list[str], other: list[str]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _end_of(text: str) -> str:
    return text if len(text) <= CONTEXT_CHARACTERS else "… " + text[-CONTEXT_CHARACTERS:]


def _beginning_of(text: str) -> str:
    return text if len(text) <= CONTEXT_CHARACTERS else text[:CONTEXT_CHARACTERS] + " …"
