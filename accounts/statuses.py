"""Which HTTP status stands for an error of ours: one table for pages, API and sockets."""

from collections.abc import Mapping
from typing import Final

from accounts.errors import DomainError

# By code; an error whose code is not here is answered as the nearest class above it whose code is.
STATUS_OF: Final[Mapping[str, int]] = {
    "error": 400,
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "too_many": 429,
    "issuer_unavailable": 503,
    "unavailable": 503,
    "storage_failed": 507,
}


def status_of(error: DomainError) -> int:
    codes = (getattr(kind, "code", "error") for kind in type(error).__mro__)
    return next(STATUS_OF[code] for code in codes if code in STATUS_OF)
