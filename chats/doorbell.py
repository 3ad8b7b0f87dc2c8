"""Wakes whoever waits for news of a row, in this process and, where a carrier is set, in others.

It says only «look»: a ring may be lost, rows are the truth. Verbs ring from their thread once their transaction is
committed; the engine and the sockets listen on the event loop.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

# "reply": something was asked of it, or it ended without being run. "waiting": a reply waits for an engine; carried to
# one of the others only. "chat": lists and heads show something new of it. "document": it is to be read, or is gone.
Topic = Literal["reply", "waiting", "chat", "document"]
Listener = Callable[[str], None]
Carriers = Mapping[Topic, Callable[[str], None]]

_lock = threading.Lock()
# By key; under None, those who want to hear of every row.
_listeners: dict[Topic, dict[str | None, list[tuple[asyncio.AbstractEventLoop, Listener]]]] = {
    "reply": {},
    "waiting": {},
    "chat": {},
    "document": {},
}


class _Line:
    carriers: Carriers = {}


def ring(topic: Topic, key: object) -> None:
    """Tell every listener of `topic` that the row `key` has changed. Any thread may call it; it never waits."""
    deliver(topic, str(key))
    if carry := _Line.carriers.get(topic):
        # Once the process is ending, what carries rings has gone: rows are looked at anyway.
        with suppress(RuntimeError):
            carry(str(key))


def carry_by(carriers: Carriers) -> None:
    """Have rings of these topics carried to other processes too."""
    _Line.carriers = carriers


def deliver(topic: Topic, name: str) -> None:
    """As `ring`, in this process only."""
    of_topic = _listeners[topic]
    with _lock:
        listeners = [*of_topic.get(name, ()), *of_topic.get(None, ())]
    for loop, listener in listeners:
        try:
            loop.call_soon_threadsafe(listener, name)
        except RuntimeError:
            # The loop was closed between the copy and the call: nobody is left to wake.
            continue


def listen(topic: Topic, listener: Listener, *, key: object | None = None) -> Callable[[], None]:
    """Call `listener(key)` on the running event loop at every ring, or at those of one row. Returns what ends it."""
    entry, name = (asyncio.get_running_loop(), listener), None if key is None else str(key)
    with _lock:
        _listeners[topic].setdefault(name, []).append(entry)

    def end() -> None:
        with _lock:
            _listeners[topic][name].remove(entry)
            if not _listeners[topic][name]:
                del _listeners[topic][name]

    return end
