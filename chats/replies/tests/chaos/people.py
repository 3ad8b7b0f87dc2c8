"""People who send until somebody accepts, and read over connections that break, from one node and the other in turn."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from chats.replies.tests.chaos.report import Report
from chats.replies.tests.chaos.voices import ECHO, Voice
from config.tests.cluster import Process
from config.tests.sockets import Viewer

# What a dying server does to a request in hand.
BROKEN = (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError)
# Statuses after which a client tries again, as docs/deploy.md says.
PASSING = {502, 503, 504}
RETRY_SECONDS = 0.1
TURN_SECONDS = 180
LINE_MAX_BYTES = 8_000_000


class Refused(OSError):
    """Not now, and worth another try."""


@dataclass(frozen=True)
class Manner:
    """How a person behaves. `patience` is drawn anew for each connection: how many events until it breaks."""

    patience: Callable[[random.Random], int] = lambda dice: dice.randint(1, 40)
    reconnects_max: int = 1_000_000
    socket_share: float = 0.5  # of the connections: WebSocket, the rest Server-Sent Events
    repeats: float = 0.3  # how often a message is sent once more


PATIENT = Manner(reconnects_max=0, repeats=0)


@dataclass
class Turn:
    """One question and its answer: what was asked, accepted and seen."""

    number: int
    voice: Voice
    prompt: str
    chat: str = ""
    reply: str = ""
    message: str = ""
    viewer: Viewer = field(default_factory=Viewer)
    status: str | None = None
    ended_because: Any = None
    wanted_status: str = ""
    is_watched: bool = True  # to its end
    heard_at: float = 0

    @property
    def wanted_text(self) -> str:
        return self.voice.text(self.prompt)


@dataclass
class Crowd:
    """Everyone who talks in a scenario, over one session of connections."""

    web: list[Process]
    headers: dict[str, str]
    report: Report
    dice: random.Random
    turns: list[Turn] = field(default_factory=list)

    async def __aenter__(self) -> "Crowd":
        self.session = aiohttp.ClientSession(
            headers=self.headers,
            timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=15),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def turn(self, *, voice: Voice = ECHO, words: int = 200) -> Turn:
        number = len(self.turns)
        turn = Turn(number, voice, f"{voice.name} {number}: " + " ".join(f"w{n}" for n in range(words)))
        turn.wanted_status = voice.status
        self.turns.append(turn)
        return turn

    # ------------------------------------------------------------ talking
    async def talk(self, turn: Turn, manner: Manner) -> None:
        """The whole of it: a chat, a message, its answer to the end. What is wrong goes into the report."""
        dice = random.Random(f"{self.dice.seed}:{self.report.seed}:{turn.number}")
        await self.send(turn, dice, repeats=manner.repeats)
        await self.watch_in_time(turn, dice, manner)

    async def watch_in_time(self, turn: Turn, dice: random.Random, manner: Manner) -> None:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self.watch(turn, dice, manner)
        except TimeoutError:
            self.report.wrong(f"{turn.voice.name} turn {turn.number} was not over after {TURN_SECONDS} seconds")

    async def open_chat(self, turn: Turn, dice: random.Random) -> None:
        turn.chat = (await self.until_it_works(dice, "POST", "/chats/", {}))["id"]

    async def send(self, turn: Turn, dice: random.Random, *, repeats: float = 0) -> None:
        await self.open_chat(turn, dice)
        body = {"content": turn.prompt, "client_id": str(UUID(int=dice.getrandbits(128)))}
        accepted = await self.until_it_works(dice, "POST", f"/chats/{turn.chat}/messages/", body)
        turn.reply, turn.message = accepted["reply"]["id"], accepted["reply"]["message"]
        if dice.random() < repeats:
            self.report.count("sends repeated")
            again = await self.until_it_works(dice, "POST", f"/chats/{turn.chat}/messages/", body)
            if again["reply"]["id"] != turn.reply:
                self.report.wrong(f"turn {turn.number}: the same client_id made two replies")

    async def send_at_both(self, turn: Turn, barrier: asyncio.Barrier) -> None:
        """The same message to each node in the same instant, to one over REST and to the other over the socket."""
        body = {"content": turn.prompt, "client_id": f"{self.report.seed}-{turn.number}-at-both"}
        at = self.web if turn.number % 2 else self.web[::-1]

        async def over_rest() -> str:
            await barrier.wait()
            answer = await until_it_works(lambda: self.ask(at[0], "POST", f"/chats/{turn.chat}/messages/", body))
            return str(answer["reply"]["id"])

        async def over_socket() -> str:
            async with self.session.ws_connect(f"{at[1].url}/ws/chats/{turn.chat}/") as socket:
                await barrier.wait()
                await socket.send_json({"type": "message.send", **body})
                while (answer := await socket.receive_json())["type"] not in {"message.accepted", "error"}:
                    pass
                return str(answer["reply"]["id"] if "reply" in answer else answer["error"])

        replies = await asyncio.gather(over_rest(), over_socket())
        turn.reply = replies[0]
        if replies[0] != replies[1]:
            self.report.wrong(f"turn {turn.number}: one client_id, two answers: {replies}")

    async def glance(self, turn: Turn, dice: random.Random) -> None:
        """Begin to read, and vanish after a few events."""
        turn.heard_at = time.monotonic()
        read = self.over_socket if dice.random() < 0.5 else self.over_sse
        patience = dice.randint(0, 5)
        try:
            async with aclosing(read(dice.choice(self.web), turn)) as events:
                async for event in events:
                    self.take(turn, event)
                    if (patience := patience - 1) <= 0:
                        break
        except BROKEN:
            self.report.count("connections lost")

    async def watch_for_stop(self, turn: Turn, dice: random.Random) -> None:
        turn.heard_at = time.monotonic()
        async with aclosing(self.over_sse(dice.choice(self.web), turn)) as events:
            async for event in events:
                self.take(turn, event)

    async def watch(self, turn: Turn, dice: random.Random, manner: Manner) -> None:
        """Read to the end, over as many connections as it takes."""
        reconnects, turn.heard_at, lost_at = 0, time.monotonic(), 0.0
        node = dice.choice(self.web)
        while turn.status is None:
            patience = manner.patience(dice) if reconnects < manner.reconnects_max else None
            read = self.over_socket if dice.random() < manner.socket_share else self.over_sse
            try:
                async with aclosing(read(node, turn)) as events:
                    async for event in events:
                        self.take(turn, event)
                        if lost_at:
                            self.report.most("seconds until a reader was back", round(turn.heard_at - lost_at, 1))
                            lost_at = 0
                        patience = patience and patience - 1
                        if turn.status is not None or patience == 0:
                            break
                self.report.count(read.__name__.replace("_", " "))
            except BROKEN:
                self.report.count("connections lost")
                lost_at = lost_at or time.monotonic()
                await asyncio.sleep(RETRY_SECONDS)
            reconnects += 1
            # The other one, each time.
            node = self.web[(self.web.index(node) + 1) % len(self.web)]
        self.report.most("reconnects of one reader", reconnects - 1)
        if turn.viewer.text != turn.wanted_text:
            self.report.wrong(f"{turn.voice.name} turn {turn.number}: the text seen ends {turn.viewer.text[-80:]!r}")

    def take(self, turn: Turn, event: dict[str, Any]) -> None:
        if event["seq"] <= turn.viewer.seq:
            self.report.wrong(f"turn {turn.number}: event {event['seq']} came after {turn.viewer.seq}")
        now = time.monotonic()
        self.report.most("seconds without an event", round(now - turn.heard_at, 1))
        turn.heard_at = now
        turn.viewer.see(event)
        match event["type"]:
            case "reply.snapshot" | "reply.restarted":
                self.report.count(event["type"])
            case "reply.finished":
                turn.status, turn.ended_because = event["status"], event["error"]
                if turn.status != turn.wanted_status:
                    self.report.wrong(f"turn {turn.number} ended {turn.status}: {turn.ended_because}")

    # ------------------------------------------------------------ the wire
    async def over_sse(self, node: Process, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        path = f"{node.url}/api/v1/replies/{turn.reply}/events/?after={turn.viewer.seq}"
        async with self.session.get(path) as response:
            self.judge(response)
            while line := await response.content.readline(max_line_length=LINE_MAX_BYTES):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    async def over_socket(self, node: Process, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        path = f"{node.url}/ws/chats/{turn.chat}/"
        # One that closes is given a second; who is in a hurry is gone at once.
        async with self.session.ws_connect(path, max_msg_size=0, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
            await socket.send_json({"type": "reply.follow", "reply": turn.reply, "after": turn.viewer.seq})
            while True:
                async with asyncio.timeout(15):
                    message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionResetError(f"closed with {socket.close_code}")
                event = json.loads(message.data)
                if event["type"] == "error":
                    self.report.count(f"socket error {event['error']['code']}")
                    raise ConnectionResetError(event["error"]["code"])
                if event.get("reply") == turn.reply and "seq" in event:
                    yield event

    async def until_it_works(
        self, dice: random.Random, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the first node answers that can; any other refusal than «later» is wrong."""
        return await until_it_works(lambda: self.ask(dice.choice(self.web), method, path, body))

    async def ask(self, node: Process, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self.session.request(method, f"{node.url}/api/v1{path}", json=body) as response:
            self.judge(response)
            answer: dict[str, Any] = await response.json()
            return answer

    def judge(self, response: aiohttp.ClientResponse) -> None:
        if response.status in PASSING:
            self.report.count(f"answered {response.status}")
            raise Refused
        if response.status >= 400:
            self.report.wrong(f"{response.method} {response.url.path} was answered {response.status}")
            response.raise_for_status()


async def until_it_works(call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    while True:
        try:
            return await call()
        except BROKEN:
            await asyncio.sleep(RETRY_SECONDS)
