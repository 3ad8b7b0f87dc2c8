"""The id under which a client sends a request that may come twice."""

from typing import Final

from accounts.errors import Invalid

CLIENT_ID_MAX_CHARACTERS: Final = 64


def is_client_id(text: str) -> bool:
    """Whether `text` can be one: it is compared as it came, so nothing in it may have to be cleaned."""
    return 0 < len(text) <= CLIENT_ID_MAX_CHARACTERS and text.isprintable()


def check_client_id(client_id: str) -> str:
    """`client_id`, if it can be one. Raises Invalid."""
    if not is_client_id(client_id):
        reason = f"Between 1 and {CLIENT_ID_MAX_CHARACTERS} printable characters."
        raise Invalid("This client_id can't be used.", fields={"client_id": [reason]})
    return client_id
