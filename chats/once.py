"""Requests that may come twice: the id under which a client sends one, and the digest that tells its body from another.

Who makes something remembers both: the same id gives the same answer again, with another body it is a conflict.
"""

import hashlib
from uuid import UUID

import orjson

from chats.errors import Invalid

CLIENT_ID_MAX_CHARACTERS = 64


def check_client_id(client_id: str) -> str:
    """`client_id`, if it can be one. Raises Invalid."""
    if not 0 < len(client_id) <= CLIENT_ID_MAX_CHARACTERS or not client_id.isprintable():
        reason = f"Between 1 and {CLIENT_ID_MAX_CHARACTERS} printable characters."
        raise Invalid("This client_id can't be used.", fields={"client_id": [reason]})
    return client_id


def digest_of(verb: str, *, subject: UUID | None, content: str | None = None, model: str | None = None) -> str:
    """SHA-256 of what is asked: to do `verb` to the row `subject`."""
    body = [verb, str(subject), (content or "").encode("utf-8", "surrogatepass").hex(), model]
    return hashlib.sha256(orjson.dumps(body)).hexdigest()
