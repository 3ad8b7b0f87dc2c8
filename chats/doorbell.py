"""Wakes whoever waits in this process for news of a row. It says only «look»: a ring may be lost, rows are the truth.

Verbs ring from their thread once their transaction is committed; the engine and the sockets listen on the event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Literal

Topic = Literal["reply", "chat"]
Listener = Callable[[str], None]

_lock = threading.Lock()
_listeners: dict[Topic, list[tuple[asyncio.AbstractEventLoop, Listener]]] = {"reply": [], "chat": []}


def ring(topic: Topic, key: object) -> None:
    """Tell every listener of `topic` that the row `key` has changed. Any thread may call it; it never waits."""
    with _lock:
        listeners = list(_listeners[topic])
    for loop, listener in listeners:
        try:
            loop.call_soon_threadsafe(listener, str(key))
        except RuntimeError:
            # The loop was closed between the copy and the call: nobody is left to wake.
            continue


def listen(topic: Topic, listener: Listener) -> Callable[[], None]:
    """Call `listener(key)` on the running event loop at every ring. Returns the function that ends it."""
    entry = (asyncio.get_running_loop(), listener)
    with _lock:
        _listeners[topic].append(entry)

    def end() -> None:
        with _lock:
            _listeners[topic].remove(entry)

    return end
