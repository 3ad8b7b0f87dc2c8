"""Why a file can't be read: a code for programs, and a sentence for people that says what to do."""

MESSAGES = {
    "empty": "There is nothing in this file. Check that it is the right one, then upload it again.",
    "no_text": "There is no text in this document; it may be a scan. Have its text recognised, then upload the result.",
    "encrypted": "This document is protected by a password. Save it without one, then upload it again.",
    "damaged": "This file is damaged, or not what it seems. Open it in its program, save it anew, and upload that.",
    "too_many_pages": "This document has too many pages. Upload it in parts.",
    "too_large_when_opened": "This file unpacks to more than is allowed. Save it without pictures, or in parts.",
    "too_long": "There is too much text in this document. Upload it in parts.",
    "unsupported": "Files of this kind can't be read. Upload PDF, Word (docx), Markdown, text, HTML, CSV or code.",
    "too_slow": "Reading this document took too long. Upload it in parts, or save it as plain text and upload that.",
    "out_of_memory": "Reading this document took too much memory. Upload it in parts, or save it as plain text.",
    "no_room": "The server had no room left to read this document. Try again later, or tell its operator.",
    "killed": "Reading it was cut off: it took too much memory or time. Upload it in parts, or save it as plain text.",
    "crashed": "This document could not be read to its end. Save it anew, or as plain text, and upload that.",
}


class Failure(Exception):
    """The file can't be read. `code` is one of MESSAGES."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code, self.message = code, message or MESSAGES[code]


def unsupported(what: str, advice: str) -> Failure:
    """`what` as in «This is an image», `advice` as a whole sentence."""
    return Failure("unsupported", f"This is {what}, which can't be read here. {advice}")
