"""What is put before the words of a chunk, so that it is found by what it is about. Pure, no Django."""

import re

_MARKS_IN_NAMES = re.compile(r"[-_.]+")


def about(name: str, heading: str) -> str:
    """The document's name as words, and the headings above the chunk."""
    plain = _MARKS_IN_NAMES.sub(" ", name.rpartition(".")[0] or name)
    return f"{plain} {heading}".rstrip()
