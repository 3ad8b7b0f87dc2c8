"""Files that are no documents of ours, told by how they begin, so that people hear what they have uploaded."""

from chats.knowledge.extractor.failures import Failure, unsupported

_IMAGE = ("an image", "Run text recognition (OCR) on it and upload the text, or attach it to a message.")
_ARCHIVE = ("an archive", "Unpack it and upload the documents in it.")
_PROGRAM = ("a program", "Upload a document instead.")
_SOUND = ("an audio file", "Upload a transcript of it.")
_VIDEO = ("a video", "Upload a transcript of it.")
_DATABASE = ("a database", "Export what you need as CSV and upload that.")
_RICH_TEXT = ("a rich text document", "Save it as .docx or PDF and upload that.")
_PRINT = ("a PostScript file", "Save it as PDF and upload that.")
_OLD_OFFICE = ("a document of an older Office program", "Save it as .docx, PDF or CSV and upload that.")

_Known = tuple[int, bytes, tuple[str, str]]
# Where it begins, with what, and what it is.
_NEVER_TEXT: tuple[_Known, ...] = (
    (0, b"\x89PNG", _IMAGE),
    (0, b"\xff\xd8\xff", _IMAGE),
    (0, b"II*\x00", _IMAGE),
    (0, b"MM\x00*", _IMAGE),
    (0, b"\x00\x00\x01\x00", _IMAGE),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (0, b"\xff\xfb", _SOUND),
    (0, b"PK\x05\x06", _ARCHIVE),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"\xfd7zXZ\x00", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"Rar!\x1a\x07", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", _PROGRAM),
    (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\x00asm", _PROGRAM),
    (0, b"SQLite format 3\x00", _DATABASE),
)
# A text may begin like this as well.
_OFTEN_TEXT: tuple[_Known, ...] = (
    (0, b"GIF8", _IMAGE),
    (0, b"BM", _IMAGE),
    (0, b"8BPS", _IMAGE),
    (4, b"ftypheic", _IMAGE),
    (4, b"ftypavif", _IMAGE),
    (4, b"ftypM4A", _SOUND),
    (4, b"ftyp", _VIDEO),
    (8, b"WEBP", _IMAGE),
    (8, b"WAVE", _SOUND),
    (8, b"AVI ", _VIDEO),
    (0, b"ID3", _SOUND),
    (0, b"OggS", _SOUND),
    (0, b"fLaC", _SOUND),
    (0, b"MThd", _SOUND),
    (0, b"MZ", _PROGRAM),
    (0, b"BZh", _ARCHIVE),
    (0, b"MSCF", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
)
# And these are text, but nothing that people would read.
_TEXT: tuple[_Known, ...] = (
    (0, b"{\\rtf", _RICH_TEXT),
    (0, b"%!PS", _PRINT),
    (0, b"<svg", _IMAGE),
)
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Office puts a protected document into such a file, as a stream of this name.
_PROTECTED = "EncryptedPackage".encode("utf-16-le")


def refuse_if_known(data: bytes, *, is_text: bool) -> None:
    """Raises Failure for what is known to be no document. A text may begin like some of them, and is none of them."""
    if data.startswith(_COMPOUND):
        raise Failure("encrypted") if _PROTECTED in data else unsupported(*_OLD_OFFICE)
    for at, beginning, what in _TEXT + _NEVER_TEXT + (() if is_text else _OFTEN_TEXT):
        if data.startswith(beginning, at):
            raise unsupported(*what)
