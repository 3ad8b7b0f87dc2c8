"""Counting how often something happens, atomically, on the Django cache (the process's memory, or Redis for all nodes).

A window slides: what happened in the fixed window before counts in proportion to how much of it is still covered, so
nobody gets twice the limit by striking around a boundary. The window's number is part of the key, so that a counter
whose expiry was lost can't stay for ever.
"""

import hashlib
import math
import time
from typing import Any, cast

from django.core.cache import cache

from accounts.errors import TooMany


def hit(scope: str, key: str, *, limit: int, seconds: int) -> None:
    """Count one event. Raises TooMany, and does not count it, when there were `limit` within `seconds` already."""
    window, elapsed = divmod(time.time(), seconds)
    # The increment decides who was first; reading first and writing later would let a crowd through together.
    current = _add(_counter(scope, key, window), 1, seconds=seconds)
    before = _read(_counter(scope, key, window - 1)) * (1 - elapsed / seconds)
    if before + current > limit:
        _add(_counter(scope, key, window), -1, seconds=seconds)
        raise TooMany(retry_after_seconds=_wait_seconds(before, current - 1, limit, elapsed, seconds))


def record(scope: str, key: str, *, seconds: int) -> None:
    """Count one event that nothing is refused for."""
    _add(_counter(scope, key, time.time() // seconds), 1, seconds=seconds)


def forgive(scope: str, key: str, *, seconds: int) -> None:
    """Take one counted event back, as after a password that turned out to be right."""
    counter = _counter(scope, key, time.time() // seconds)
    if _read(counter) > 0:
        _add(counter, -1, seconds=seconds)


def count(scope: str, key: str, *, seconds: int) -> int:
    """How many events count now."""
    window, elapsed = divmod(time.time(), seconds)
    before = _read(_counter(scope, key, window - 1)) * (1 - elapsed / seconds)
    return math.floor(before) + _read(_counter(scope, key, window))


def hold(scope: str, key: str, *, seconds: float) -> None:
    """Let one through and nobody else for `seconds`. Raises TooMany while someone else's hold lasts."""
    name = _name(scope, key)
    now = time.time()
    if cache.get(name, now + seconds) <= now:
        # It is over by our clock; the cache's own may run behind.
        cache.delete(name)
    if not cache.add(name, now + seconds, timeout=math.ceil(seconds)):
        left = cache.get(name, now + seconds) - now
        raise TooMany(retry_after_seconds=max(1, math.ceil(left)))


def remember(scope: str, key: str, *, seconds: int) -> None:
    """Note that something is so, for a while."""
    cache.set(_name(scope, key), True, timeout=seconds)


def is_remembered(scope: str, key: str) -> bool:
    return bool(cache.get(_name(scope, key)))


def _wait_seconds(before: float, current: int, limit: int, elapsed: float, seconds: int) -> int:
    """Seconds until one more event fits, if nothing else happens."""
    room = limit - 1 - current
    if room >= 0:
        whole = before / (1 - elapsed / seconds)
        left = seconds * (1 - room / whole) - elapsed
    else:
        left = seconds - elapsed + seconds * (1 - (limit - 1) / max(current, 1))
    return max(1, math.ceil(left))


def _name(scope: str, key: str) -> str:
    # Keys hold what people typed: hashed, they fit every cache and tell nothing.
    return f"limit:{scope}:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _counter(scope: str, key: str, window: float) -> str:
    return f"{_name(scope, key)}:{int(window)}"


def _read(counter: str) -> int:
    return max(0, cache.get(counter, 0))


def _add(counter: str, amount: int, *, seconds: int) -> int:
    counted: int = cast(Any, cache).count(counter, amount, seconds=2 * seconds)
    return counted
