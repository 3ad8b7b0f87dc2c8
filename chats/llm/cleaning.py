"""Text that every database and every browser can take, whatever a provider sends.

NUL characters and halves of surrogate pairs become U+FFFD. A pair that was torn apart between two pieces is joined.
"""

import re

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class TextCleaner:
    """Cleans one text that comes in pieces. A first half at the end of a piece waits for the next one."""

    def __init__(self) -> None:
        self._held = ""

    def clean(self, piece: str) -> str:
        if not self._held and not _UNSTORABLE.search(piece):
            return piece
        text = self._held + piece
        self._held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return _replace(text.removesuffix(self._held) if self._held else text)

    def end(self) -> str:
        """What still waits, cleaned."""
        left, self._held = self._held, ""
        return _replace(left)


def clean(text: str) -> str:
    """`text` as a whole, cleaned."""
    return _replace(text) if _UNSTORABLE.search(text) else text


def _replace(text: str) -> str:
    joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _UNSTORABLE.sub(REPLACEMENT, joined)
