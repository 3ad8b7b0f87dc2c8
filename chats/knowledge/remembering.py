"""What was found out is remembered in this process, the latest used longest, within so many bytes. Pure, no Django."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """For threads. `weight` says how many bytes a value takes, about; one of more than an eighth of all is not kept."""

    def __init__(self, max_bytes: int, *, weight: Callable[[Value], int]) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._weight = weight
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key, find: Callable[[], Value]) -> Value:
        """What is remembered, or else found now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        # Not under the lock: two that look for the same at once both find it.
        value = find()
        self._keep(key, value)
        return value

    def _keep(self, key: Key, value: Value) -> None:
        size = self._weight(value)
        if size > self._max_bytes // 8:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = value, size
            self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= self._kept.popitem(last=False)[1][1]
