"""The questions asked after every scenario: is every word there, once, and is nothing left over?"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import redis

from chats.replies.tests.chaos.deployment import Costs, Deployment, event_of
from chats.replies.tests.chaos.people import Turn
from chats.replies.tests.chaos.report import Report

SETTLE_SECONDS = 10
# Idle connections to the provider are kept for 15 seconds, and looked through as seldom.
IDLE_SECONDS = 35
# A stream whose writer died is kept for a minute, others shorter; counters of limits last for their window.
STREAM_SECONDS = 60
# Threads of the pools come when they are first needed, and libraries open a pipe or two.
DESCRIPTORS_SLACK = 6
# What nobody expects, whatever is done to the servers around it.
FAULTS = {
    "background_task_failed",
    "follow_failed",
    "reply_failed",
    "save_given_up",
    "socket_message_failed",
    "A streamed response failed",
    "Exception in ASGI application\n",
}
UNHEARD = ("was never retrieved", "was destroyed but it is pending", "was never awaited")
# A job whose end could not be told to PostgreSQL: Procrastinate's own affair, and its reply waits in its row.
NOT_OURS = "process job run_reply"

REPLIES = """
    SELECT r.chat_id, r.id, r.status, r.attempt, answer.content, r.snapshot_seq,
        (SELECT count(*) FROM chats_message m WHERE m.chat_id = r.chat_id AND m.role = 'assistant'),
        (SELECT count(*) FROM usage_usagerecord u WHERE u.reply_id = r.id AND NOT u.is_estimated),
        (SELECT count(*) FROM usage_usagerecord u WHERE u.reply_id = r.id)
    FROM chats_reply r LEFT JOIN chats_message answer ON answer.id = r.message_id WHERE r.chat_id = ANY(%s)
"""
ASKED = "SELECT chat_id, content FROM chats_message WHERE role = 'user' AND chat_id = ANY(%s)"
JOBS = "SELECT count(*) FROM procrastinate_jobs"
UNFINISHED = """
    SELECT count(*) FROM chats_reply WHERE chat_id = ANY(%s) AND status IN ('queued', 'running', 'waiting')
"""


class Audit:
    def __init__(self, deployment: Deployment, report: Report, turns: Sequence[Turn]) -> None:
        self.deployment, self.report, self.turns = deployment, report, turns
        self.chats = [UUID(turn.chat) for turn in turns if turn.chat]

    def run(self, *, before: Costs, log_sizes: dict[str, int]) -> None:
        self.is_soon("every reply is over", lambda: self._count(UNFINISHED, self.chats) == 0, seconds=30)
        self._check_rows()
        if not self.deployment.provider.wait_idle(SETTLE_SECONDS):
            self.report.wrong("a connection to the provider is still at work")
        self.is_soon("no job is left", lambda: self._count(JOBS) == 0)
        self._check_database(before)
        self._check_redis()
        self._check_processes(before)
        self._check_logs(log_sizes)

    def is_soon(self, what: str, is_so: Callable[[], bool], *, seconds: float = SETTLE_SECONDS) -> bool:
        """Wait until it is so; wrong when it is not within `seconds`."""
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > seconds:
                self.report.wrong(f"after {seconds} seconds it was not so: {what}")
                return False
            time.sleep(0.1)
        return True

    def _count(self, query: str, *parameters: Any) -> int:
        return int(self.deployment.rows(query, *parameters)[0][0])

    # ------------------------------------------------------------ rows
    def _check_rows(self) -> None:
        asked: dict[str, list[str]] = {}
        for chat, content in self.deployment.rows(ASKED, self.chats):
            asked.setdefault(str(chat), []).append(content)
        replies: dict[str, list[tuple[Any, ...]]] = {}
        for chat, *reply in self.deployment.rows(REPLIES, self.chats):
            replies.setdefault(str(chat), []).append(tuple(reply))
        for turn in self.turns:
            if asked.get(turn.chat) != [turn.prompt]:
                self.report.wrong(f"turn {turn.number}: {len(asked.get(turn.chat, []))} messages instead of its own")
            self._check_reply(turn, replies.get(turn.chat, []))

    def _check_reply(self, turn: Turn, found: list[tuple[Any, ...]]) -> None:
        if len(found) != 1:
            self.report.wrong(f"turn {turn.number}: {len(found)} replies")
            return
        _, status, attempt, content, last_seq, answers, exact, booked = found[0]
        wrongs = {
            f"stored as {status} instead of {turn.wanted_status}": status != turn.wanted_status,
            f"the text stored ends {(content or '')[-80:]!r}": not self._is_right(turn, content),
            f"{answers} answers": answers != 1,
            f"booked {exact} times as the provider billed": exact != (status == "completed" or turn.voice.is_billed)
            and status != "stopped",
            f"booked {booked} times in {attempt} attempts": booked > attempt,
            f"stored up to {last_seq}, but {turn.viewer.seq} was seen": turn.status is not None
            and last_seq + 1 != turn.viewer.seq,
        }
        for what, is_so in wrongs.items():
            if is_so:
                self.report.wrong(f"{turn.voice.name} turn {turn.number}: {what}")
        self.report.most("attempts at one reply", attempt)

    def _is_right(self, turn: Turn, content: str | None) -> bool:
        if turn.wanted_status == "stopped":
            # All that was seen, and perhaps a little more that was on its way.
            return content is not None and turn.wanted_text.startswith(content) and content.startswith(turn.viewer.text)
        return content == turn.wanted_text

    # ------------------------------------------------------------ what is held
    def _check_database(self, before: Costs) -> None:
        began = time.monotonic()
        is_back = lambda: (  # noqa: E731
            (now := self.deployment.connection_states()).total() <= before.database_connections and set(now) <= {"idle"}
        )
        if self.is_soon(f"at most {before.database_connections} connections to PostgreSQL, all idle", is_back):
            self.report.figures["seconds until PostgreSQL was at its baseline"] = round(time.monotonic() - began, 1)
        else:
            self.report.notes["connections to PostgreSQL"] = dict(self.deployment.connection_states())

    def _check_redis(self) -> None:
        with self.deployment.redis() as client:
            try:
                lives = {key: client.ttl(key) for key in client.scan_iter(count=1000)}
            except redis.RedisError as error:
                self.report.wrong(f"Redis does not answer: {error!r}")
                return
        # -2: gone since it was listed; -1: for ever.
        kept = [k for k, ttl in lives.items() if ttl == -1 or (k.startswith(b"parley:") and ttl > STREAM_SECONDS)]
        if kept:
            self.report.wrong(f"{len(kept)} keys stay in Redis, such as {kept[0]!r}")

    def _check_processes(self, before: Costs) -> None:
        dead = [node.name for node in self.deployment.nodes if node.process is None or node.process.poll() is not None]
        if dead:
            self.report.wrong(f"{dead} ended by themselves")
            return

        def is_back() -> bool:
            now = self.deployment.costs().descriptors
            return all(now[name] <= held + DESCRIPTORS_SLACK for name, held in before.descriptors.items())

        self.is_soon(f"descriptors as before: {before.descriptors}", is_back, seconds=IDLE_SECONDS)
        after = self.deployment.costs()
        for what in ("descriptors", "threads", "rss_mib"):
            pairs = {name: (getattr(before, what)[name], getattr(after, what)[name]) for name in before.descriptors}
            self.report.notes[f"{what} before and after"] = pairs

    def _check_logs(self, log_sizes: dict[str, int]) -> None:
        for node, line in self.deployment.logged(since=log_sizes):
            event = event_of(line)
            name = str(event.get("event"))
            if event.get("level") in {"warning", "error", "critical"}:
                self.report.count(f"logged {re.split(r'[:<[]', name)[0].strip()}")
            if name in FAULTS or (any(words in name for words in UNHEARD) and NOT_OURS not in name):
                self.report.wrong(f"{node} logged {line[-600:]}")
