"""What can go wrong with a provider: few errors, each with a cause for people and whether a retry makes sense."""

from typing import ClassVar


class ProviderError(Exception):
    """`code` is stable; `message` says the cause and what to do; `detail` is the provider's own words, cut."""

    code: ClassVar[str] = "provider_error"
    is_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "", retry_after_seconds: float | None = None) -> None:
        self.message = message
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class ProviderUnreachable(ProviderError):
    """No connection, or it broke before the answer began."""

    code = "provider_unreachable"
    is_retryable = True


class ProviderTimeout(ProviderError):
    """No first token, or no further content, within the limit."""

    code = "provider_timeout"


class ProviderRefused(ProviderError):
    """The key is wrong, missing or may not use this model (401, 403)."""

    code = "provider_refused"


class ProviderRejected(ProviderError):
    """The request itself is not acceptable: too long, unknown model, bad setting (400, 404, 413, 422)."""

    code = "provider_rejected"


class ProviderBusy(ProviderError):
    """Rate limit or overload (429, 503, 529)."""

    code = "provider_busy"
    is_retryable = True


class ProviderBroken(ProviderError):
    """The provider failed (other 5xx) before the answer began."""

    code = "provider_broken"
    is_retryable = True


class ProviderNonsense(ProviderError):
    """The answer can't be understood: HTML, malformed JSON, a line without end."""

    code = "provider_nonsense"


class StreamCut(ProviderError):
    """The connection ended in the middle of an answer, without a finish reason."""

    code = "stream_cut"
