"""What goes wrong, by name. Each scenario says how much of it there is in a long run and in the one of the suite."""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from chats.replies.tests.chaos import disturbances, voices
from chats.replies.tests.chaos.audit import Audit
from chats.replies.tests.chaos.deployment import POOL_MAX_SIZE, Costs, Deployment
from chats.replies.tests.chaos.people import PATIENT, Crowd, Manner, Turn
from chats.replies.tests.chaos.report import Report

# As promised.
STOP_SECONDS = 1.0
EXIT_SECONDS = 30.0
BACK_SECONDS = 5.0
WARM_UP = 12


@dataclass(frozen=True)
class Size:
    """`turns` in all, `at_once` at the same time, each of `words` at `words_per_second`; it hits `blows` times."""

    turns: int
    at_once: int
    blows: int = 0
    words: int = 200
    words_per_second: float = 60
    hostile: float = 0.3  # the share of turns whose provider misbehaves


@dataclass
class Stage:
    """A deployment with people, dice and a report."""

    deployment: Deployment
    crowd: Crowd
    report: Report
    dice: random.Random
    size: Size

    def set_pace(self, words_per_second: float) -> None:
        self.deployment.provider.script_by(lambda prompt: voices.voice_of(prompt).paced(prompt, words_per_second))

    def turn(self) -> Turn:
        voice = voices.choose(self.dice, hostile=self.size.hostile)
        return self.crowd.turn(voice=voice, words=self.size.words)

    async def everyone_talks(self, manner: Manner) -> None:
        self.set_pace(self.size.words_per_second)
        turns = [self.turn() for _ in range(self.size.turns)]
        await self.in_groups(lambda turn: self.crowd.talk(turn, manner), turns)

    def under(self, blow: disturbances.Blow, *, pause: tuple[float, float]) -> AbstractAsyncContextManager[None]:
        return disturbances.again_and_again(
            blow, times=self.size.blows, dice=random.Random(self.dice.random()), pause=pause
        )

    async def in_groups(self, work: Callable[[Turn], Awaitable[None]], turns: list[Turn]) -> None:
        """`work` for each, `at_once` of them at the same time."""
        room = asyncio.Semaphore(self.size.at_once)

        async def one(turn: Turn) -> None:
            async with room:
                await work(turn)

        async with asyncio.TaskGroup() as group:
            for turn in turns:
                group.create_task(one(turn))


Play = Callable[[Stage], Awaitable[None]]
RESTLESS = Manner()


async def kills(stage: Stage) -> None:
    """One of the processes dies by kill -9, again and again, and is started again."""
    blow = lambda: disturbances.kill_a_process(stage.deployment, stage.report, stage.dice)  # noqa: E731
    async with stage.under(blow, pause=(0.2, 1.5)):
        await stage.everyone_talks(RESTLESS)
    for node in stage.deployment.nodes:
        await asyncio.to_thread(node.wait_ready)


async def reconnects(stage: Stage) -> None:
    """Every reader breaks off up to 50 times, and goes on at the other node, over either kind of connection."""
    restless = lambda dice: dice.randint(1, 4)  # noqa: E731
    await stage.everyone_talks(Manner(patience=restless, reconnects_max=50))


async def double_sends(stage: Stage) -> None:
    """The same message to both nodes in the same instant, over REST and the socket: one message, one request."""
    stage.set_pace(0)
    turns = [stage.crowd.turn(words=5) for _ in range(stage.size.turns)]
    posts = len(stage.deployment.provider.requests)
    for first in range(0, len(turns), stage.size.at_once):
        group = turns[first : first + stage.size.at_once]
        await asyncio.gather(*(stage.crowd.open_chat(turn, stage.dice) for turn in group))
        barrier = asyncio.Barrier(2 * len(group))
        await asyncio.gather(*(stage.crowd.send_at_both(turn, barrier) for turn in group))
        await asyncio.gather(*(stage.crowd.watch(turn, stage.dice, PATIENT) for turn in group))
    asked = len(stage.deployment.provider.requests) - posts
    if asked != len(turns):
        stage.report.wrong(f"the provider was asked {asked} times for {len(turns)} messages")


async def redis(stage: Stage) -> None:
    """Redis is killed and started again empty, emptied, paused and frozen while people talk."""
    blow = lambda: disturbances.trouble_redis(stage.deployment, stage.report, stage.dice)  # noqa: E731
    async with stage.under(blow, pause=(0.3, 2)):
        await stage.everyone_talks(Manner(patience=lambda dice: dice.randint(20, 200), repeats=0.3))


async def postgres(stage: Stage) -> None:
    """All connections to PostgreSQL are terminated again and again, and exactly those in a final save."""
    blow = lambda: disturbances.cut_all_connections(stage.deployment, stage.report)  # noqa: E731
    async with stage.under(blow, pause=(0.1, 1)):
        await stage.everyone_talks(RESTLESS)
    await stage.in_groups(lambda turn: _cut_at_the_final_save(stage, turn), [stage.turn() for _ in range(4)])


async def _cut_at_the_final_save(stage: Stage, turn: Turn) -> None:
    """Its chat is locked, so that the final save waits in mid-transaction; there its connection is cut, twice."""
    await stage.crowd.send(turn, stage.dice)
    watching = asyncio.create_task(stage.crowd.watch_in_time(turn, stage.dice, PATIENT))
    cut = await asyncio.to_thread(disturbances.cut_final_save, stage.deployment, turn.chat, times=2)
    stage.report.count("final saves cut", cut)
    await watching


async def abandoned(stage: Stage) -> None:
    """Nobody who asks stays for the answer. Nothing of it is to remain, and no process takes more than its pool."""
    stage.set_pace(stage.size.words_per_second)

    async def ask_and_go(turn: Turn) -> None:
        await stage.crowd.send(turn, stage.dice)
        await stage.crowd.glance(turn, stage.dice)

    count = lambda: disturbances.count_connections(stage.deployment, stage.report)  # noqa: E731
    async with disturbances.again_and_again(count, times=sys.maxsize, dice=stage.dice, pause=(0.2, 0.2)):
        await stage.in_groups(ask_and_go, [stage.turn() for _ in range(stage.size.turns)])
    # A pool each, and what a process that runs replies has for its jobs.
    allowed = POOL_MAX_SIZE * len(stage.deployment.nodes) + 2 * 3
    if stage.report.figures["connections to PostgreSQL at most"] > allowed:
        stage.report.wrong(f"more than {allowed} connections to PostgreSQL")


async def deploy(stage: Stage) -> None:
    """Each process is told to end and started again, one after the other, while answers are being written."""
    stage.set_pace(stage.size.words_per_second)
    turns = [stage.turn() for _ in range(stage.size.turns)]
    async with asyncio.TaskGroup() as group:
        for turn in turns:
            group.create_task(stage.crowd.talk(turn, Manner(reconnects_max=0, repeats=0.5)))
        for _ in range(stage.size.blows):
            await disturbances.deploy_anew(stage.deployment, stage.report)
    stage.report.at_most("seconds until a process ended", EXIT_SECONDS)
    stage.report.at_most("seconds until a reader was back", BACK_SECONDS)


async def stop(stage: Stage) -> None:
    """Stopped on a random node, in a random phase, while others go on: how soon is the provider's connection closed?"""
    stage.set_pace(stage.size.words_per_second)
    provider, waits = stage.deployment.provider, list[float]()
    others = [stage.turn() for _ in range(stage.size.at_once)]
    async with asyncio.TaskGroup() as group:
        for turn in others:
            group.create_task(stage.crowd.talk(turn, RESTLESS))
        for _ in range(stage.size.turns):
            turn = stage.crowd.turn(words=stage.size.words)
            turn.wanted_status = "stopped"
            await stage.crowd.send(turn, stage.dice)
            watching = asyncio.create_task(stage.crowd.watch_for_stop(turn, stage.dice))
            # In any phase: before the request has come, before its first word, and later.
            await asyncio.sleep(stage.dice.choice([0, 0.02, 0.1, 0.3]))
            began = time.monotonic()
            await stage.crowd.until_it_works(stage.dice, "POST", f"/replies/{turn.reply}/stop/")
            if await asyncio.to_thread(provider.wait_silent, turn.prompt, STOP_SECONDS * 5):
                waits.append(time.monotonic() - began)
            else:
                stage.report.wrong(f"turn {turn.number}: stopped, and the provider is still at it")
            await watching
    waits.sort()
    stage.report.count("stops", len(waits))
    stage.report.figures["seconds from stop to closed, p50"] = round(waits[len(waits) // 2], 3)
    stage.report.figures["seconds from stop to closed, p99"] = round(waits[int(len(waits) * 0.99)], 3)
    stage.report.figures["seconds from stop to closed, max"] = round(waits[-1], 3)
    stage.report.at_most("seconds from stop to closed, p99", STOP_SECONDS)


@dataclass(frozen=True)
class Scenario:
    play: Play
    long: Size
    short: Size
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.play.__name__


MANY_ATTEMPTS = {"REPLY_MAX_ATTEMPTS": "1000"}
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        # Nobody dies as often as here: the question is whether all is said in the end, not when one gives up.
        Scenario(kills, Size(1300, 40, blows=200, words=240), Size(8, 8, blows=3, words=60), MANY_ATTEMPTS),
        Scenario(reconnects, Size(1000, 60, words=300), Size(8, 8, words=60)),
        Scenario(double_sends, Size(500, 50), Size(20, 20)),
        Scenario(redis, Size(600, 40, blows=30), Size(6, 6, blows=2, words=90, hostile=0)),
        Scenario(postgres, Size(300, 40, blows=60), Size(6, 6, blows=4, words=60, hostile=0)),
        Scenario(abandoned, Size(1000, 20, words=60), Size(12, 6, words=60, hostile=0)),
        # A grace so short that most replies are handed over, more often than a reply may be lost.
        Scenario(
            deploy,
            Size(50, 50, blows=3, words=1200, words_per_second=40),
            Size(6, 6, blows=1, words=240),
            {"SHUTDOWN_GRACE_SECONDS": "3"},
        ),
        Scenario(stop, Size(200, 20, words=400, words_per_second=40), Size(8, 4, words=120, hostile=0)),
    )
}


def warmed_up(deployment: Deployment) -> Costs:
    """What the deployment holds on an ordinary day: before its pools and threads are there, that is no measure."""
    asyncio.run(_warm_up(deployment))
    return deployment.costs()


async def _warm_up(deployment: Deployment) -> None:
    report = Report("warm-up", 0)
    async with Crowd(deployment.web, deployment.headers, report, random.Random(0)) as crowd:
        requests = [crowd.ask(node, "GET", "/chats/") for node in deployment.web for _ in range(WARM_UP)]
        await asyncio.gather(*requests, *(crowd.talk(crowd.turn(words=20), Manner(repeats=0)) for _ in range(WARM_UP)))
    assert not report.wrongs, report


def run(scenario: Scenario, deployment: Deployment, *, before: Costs, seed: int, size: Size) -> Report:
    """Play it on this deployment, and audit what it left; `before` is what was held when it was warmed up."""
    report, dice = Report(scenario.name, seed), random.Random(f"{scenario.name}:{seed}")
    log_sizes, began = deployment.log_sizes(), time.monotonic()
    crowd = Crowd(deployment.web, deployment.headers, report, dice)

    async def play() -> None:
        async with crowd:
            await scenario.play(Stage(deployment, crowd, report, dice, size))

    asyncio.run(play())
    report.figures["seconds"] = round(time.monotonic() - began, 1)
    Audit(deployment, report, crowd.turns).run(before=before, log_sizes=log_sizes)
    return report
