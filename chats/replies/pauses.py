"""How long to wait before a provider is asked again."""

import random

RETRY_SECONDS = 0.5
JITTER = 0.25  # of a pause, and of a second


def pause_seconds(attempt: int, *, asked_for: float | None) -> float:
    """How long to wait before asking again: twice as long each time, or what the provider asked for and a little more.

    Never the same twice, so that the many who were sent away at one moment do not come back at one moment.
    """
    if asked_for is not None:
        return asked_for + random.uniform(0, JITTER)  # noqa: S311 - no secret
    return RETRY_SECONDS * 2.0**attempt * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
