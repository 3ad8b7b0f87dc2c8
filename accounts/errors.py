"""What can go wrong, said once: a code for programs, a sentence for people, no HTTP.

Each interface renders them in one place: `chats.api.errors`, `chats.pages.doors`, `chats.realtime.doors`.
Their HTTP statuses are in `accounts.statuses`.
"""

import errno
from collections.abc import Mapping
from typing import ClassVar


class DomainError(Exception):
    """An expected failure. `code` is stable, `message` is shown to people, `fields` says what to correct, by name."""

    code: ClassVar[str] = "error"
    message: str = "Something went wrong."

    def __init__(self, message: str = "", *, fields: Mapping[str, list[str]] | None = None) -> None:
        self.message = message or type(self).message
        self.fields = dict(fields or {})
        super().__init__(self.message)


class Invalid(DomainError):
    code = "invalid"
    message = "Something in this request is not valid."


class NotFound(DomainError):
    code = "not_found"
    message = "There is nothing here, or it is not yours."


class Forbidden(DomainError):
    code = "forbidden"
    message = "You may not do this."


class Conflict(DomainError):
    code = "conflict"
    message = "This was changed by someone else, or used before with other content."


class TooLarge(DomainError):
    code = "too_large"
    message = "This is larger than allowed."


class TooMany(DomainError):
    code = "too_many"
    message = "Too many requests. Wait a moment and try again."

    def __init__(self, message: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unauthenticated(DomainError):
    """Whatever was wrong with the credential: the answer never says what."""

    code = "unauthenticated"
    message = "Sign in, or send a valid key as «Authorization: Bearer …»."


class NoAccount(Unauthenticated):
    """The token is right, but its person is unknown here and may not come in alone."""

    code = "no_account"
    message = "You have no account here. Ask an administrator to add you."


class IssuerUnavailable(DomainError):
    """The keys of the configured OIDC issuer can't be had, so no token can be checked now. A retry makes sense."""

    code = "issuer_unavailable"
    message = "The sign-in service can't be reached right now. Try again in a minute."


class StorageFailed(DomainError):
    """A file can't be kept, most often as a disk is full."""

    code = "storage_failed"
    message = "The server could not keep this file; it may have run out of room. Try again later, or tell its operator."


def is_out_of_room(error: BaseException) -> bool:
    """Whether a disk is full, or as full as we may make it."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
