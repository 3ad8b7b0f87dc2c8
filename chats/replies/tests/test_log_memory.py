"""A log is kept for every running reply, so what it holds must be about what it says."""

import tracemalloc
from uuid import uuid4

from chats.replies.log import REPLAY_MAX_EVENTS, ReplyLog

SAID_BYTES = 150  # of one event with one word


def test_a_log_weighs_about_as_much_as_its_events_say():
    log = ReplyLog(uuid4(), last_seq=0)
    tracemalloc.start()
    try:
        for _ in range(REPLAY_MAX_EVENTS):
            log.append_text("word ")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * SAID_BYTES * REPLAY_MAX_EVENTS
