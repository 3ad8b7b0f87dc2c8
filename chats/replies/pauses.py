"""Whether a provider is asked again after a failure, and how long to wait before."""

import random

from django.conf import settings

from chats.llm.errors import ProviderError

RETRY_SECONDS = 0.5
JITTER = 0.25  # of a pause, and of a second


def pause_before_retry(error: ProviderError, attempt: int) -> float | None:
    """How long to wait after this failure of attempt number `attempt`, from 0; None where another makes no sense.

    Twice as long each time, or what the provider asked for and a little more. Never the same twice, so that the many
    who were sent away at one moment do not come back at one moment.
    """
    asked_for = error.retry_after_seconds
    if attempt >= settings.PROVIDER_RETRIES or not error.is_retryable:
        return None
    if asked_for is None:
        return RETRY_SECONDS * 2.0**attempt * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
    if asked_for > settings.PROVIDER_RETRY_AFTER_MAX_SECONDS:
        return None
    return asked_for + random.uniform(0, JITTER)  # noqa: S311 - no secret
