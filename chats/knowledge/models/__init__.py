"""Document, its versions, and what is searched of them; one file a group of nouns."""

from chats.knowledge.models.document import Document, DocumentText, DocumentVersion
from chats.knowledge.models.index import Chunk, Embedder, Embedding

__all__ = ["Chunk", "Document", "DocumentText", "DocumentVersion", "Embedder", "Embedding"]
