"""The caches: the memory of a process, or for several nodes Redis, and while that is away the memory of each.

What is counted there are limits. Without Redis they hold for each process alone, which is better than to send everybody
away, or to keep them waiting.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import redis
import structlog
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = structlog.get_logger(__name__)

ANSWER_SECONDS = 1.0
# So long nobody asks again a Redis that did not answer: one request in this time waits for it, not each.
AWAY_SECONDS = 5.0
MEMORY_MAX_ENTRIES = 20_000
Answer = TypeVar("Answer")

LOST = (redis.RedisError, OSError, TimeoutError)


class _Present:
    """Django makes a cache for each thread; what one of them finds out holds for all."""

    away_until = 0.0


class Memory(LocMemCache):
    def count(self, key: str, amount: int, *, seconds: int) -> int:
        """Add `amount` to a counter, which begins at 0 and lasts for some `seconds`, and return what it is then."""
        while not self.add(key, amount, timeout=seconds):
            with suppress(ValueError):  # it is over since
                counted: int = self.incr(key, amount)
                return counted
        return amount


class RedisOrMemory(BaseCache):
    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {
            "socket_connect_timeout": ANSWER_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = RedisCache(location, {**params, "OPTIONS": options})
        self._memory = Memory("without-redis", {"OPTIONS": {"MAX_ENTRIES": MEMORY_MAX_ENTRIES}})

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        return self._call("add", key, value, timeout, version)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._call("get", key, default, version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        return self._call("set", key, value, timeout, version)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        return self._call("touch", key, timeout, version)

    def delete(self, key: Any, version: int | None = None) -> Any:
        return self._call("delete", key, version)

    def count(self, key: str, amount: int, *, seconds: int) -> int:
        """As `Memory.count`. In one transaction: a counter without an end would stay for ever."""
        name = self._redis.make_and_validate_key(key)

        def in_redis() -> int:
            client: Any = self._redis._cache
            with client.get_client(name, write=True).pipeline() as pipeline:
                counted: int = pipeline.incrby(name, amount).expire(name, seconds).execute()[0]
                return counted

        return self._tried(in_redis, lambda: self._memory.count(key, amount, seconds=seconds))

    def clear(self) -> None:
        self._memory.clear()
        self._call("clear")

    def disconnect(self) -> None:
        """Close this thread's connections to Redis; the next use opens one."""
        client: Any = self._redis._cache
        for pool in client._pools.values():
            pool.disconnect()

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._tried(
            lambda: getattr(self._redis, name)(*arguments), lambda: getattr(self._memory, name)(*arguments)
        )

    def _tried(self, in_redis: Callable[[], Answer], in_memory: Callable[[], Answer]) -> Answer:
        if time.monotonic() >= _Present.away_until:
            try:
                return in_redis()
            except LOST as error:
                _Present.away_until = time.monotonic() + AWAY_SECONDS
                logger.warning("cache_away", error=type(error).__name__)
        return in_memory()
