"""Bytes that are text, as text that can be stored: whatever they are encoded in."""

import codecs
import re
import unicodedata

from chats.knowledge.extractor.failures import Failure

# UTF-32 before UTF-16: its mark begins with that.
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 20_000
# Of the bytes of a text, at most so many are control characters.
CONTROL_SHARE = 0.02

_CONTROL = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decoded(raw: bytes) -> str:
    """Raises Failure for what is no text."""
    return cleaned(_decode(raw))


def cleaned(text: str) -> str:
    """`text` without control characters, with one kind of line end, and characters in their composed form."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n\n")
    text = _CONTROL.sub("", _UNSTORABLE.sub("\ufffd", text))
    return unicodedata.normalize("NFC", text)


def _decode(raw: bytes) -> str:
    for mark, encoding in BOMS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    sample = raw[:SAMPLE_BYTES]
    if encoding := _utf16(sample):
        return raw.decode(encoding, "replace")
    controls = len(_CONTROL_BYTES.findall(sample))
    if controls == len(sample) or controls > max(1, CONTROL_SHARE * len(sample)):
        raise Failure("unsupported")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # What is left of the old encodings of the West; nearly every byte means something there.
        return raw.decode("cp1252", "replace")


def _utf16(sample: bytes) -> str:
    """UTF-16 without a mark: in most scripts every other byte is mostly zero."""
    pairs = len(sample) // 2
    if pairs < 4:
        return ""
    high, low = sample[1::2].count(0), sample[::2].count(0)
    if high > 0.6 * pairs and low < 0.1 * pairs:
        return "utf-16-le"
    if low > 0.6 * pairs and high < 0.1 * pairs:
        return "utf-16-be"
    return ""
