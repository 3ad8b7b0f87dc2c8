"""What a search needs of each chunk, made here, where it takes nobody else's time."""

from base64 import b64encode
from typing import Any

from chats.knowledge.about import about
from chats.knowledge.extractor.split import Chunk
from chats.knowledge.hashing import embed
from chats.knowledge.terms import language_of, terms_of


class Preparation:
    """Of one document. Its name and the headings above a chunk say what the chunk is about, so it is found by them."""

    def __init__(self, text: str, *, name: str) -> None:
        self._text = text
        self._language = language_of(text)
        self._name = name

    def row(self, chunk: Chunk) -> dict[str, Any]:
        text = self._text[chunk.start : chunk.end]
        before = about(self._name, chunk.heading)
        around = dict.fromkeys(terms_of(before, language=self._language))
        terms = [*terms_of(text, language=self._language), *around]
        vector = embed([f"{before} {text}"])[0]
        return {
            "index": chunk.index,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "heading": chunk.heading,
            "terms": " ".join(terms),
            "vector": b64encode(vector.astype("<f4").tobytes()).decode(),
        }
