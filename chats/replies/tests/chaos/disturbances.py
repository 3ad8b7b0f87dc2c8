"""What is done to the servers while people talk: one blow each, and `again_and_again` for many of them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from chats.replies.tests.chaos.deployment import OBSERVER, Deployment
from chats.replies.tests.chaos.report import Report

WAIT_SECONDS = 20
TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> %s
"""
TERMINATE_BLOCKED = f"{TERMINATE} AND %s = ANY(pg_blocking_pids(pid))"

Blow = Callable[[], Awaitable[None]]


@asynccontextmanager
async def again_and_again(
    blow: Blow, *, times: int, dice: random.Random, pause: tuple[float, float]
) -> AsyncIterator[None]:
    """`blow` falls up to so often while the block lasts, after a pause between these seconds each."""
    is_over = asyncio.Event()

    async def strike() -> None:
        for _ in range(times):
            try:
                async with asyncio.timeout(dice.uniform(*pause)):
                    await is_over.wait()
                return
            except TimeoutError:
                await blow()

    striking = asyncio.create_task(strike())
    try:
        yield
    finally:
        is_over.set()
        await striking


# ---------------------------------------------------------------- processes
async def kill_a_process(deployment: Deployment, report: Report, dice: random.Random) -> None:
    node = dice.choice(deployment.nodes)
    # One that is still starting has nothing to lose, and on a slow machine none would ever be there.
    await asyncio.to_thread(node.wait_ready)
    await asyncio.to_thread(node.kill)
    node.start()
    report.count(f"kills of {node.name}")


async def deploy_anew(deployment: Deployment, report: Report) -> None:
    """A rolling restart: each process is told to end, has ended, is started again and is ready before the next."""
    for node in deployment.nodes:
        began = time.monotonic()
        code = await asyncio.to_thread(node.end)
        report.most("seconds until a process ended", round(time.monotonic() - began, 1))
        if code:
            report.wrong(f"{node.name} ended with {code}")
        node.start()
        await asyncio.to_thread(node.wait_ready)
        report.count("processes replaced")


# ---------------------------------------------------------------- Redis
async def trouble_redis(deployment: Deployment, report: Report, dice: random.Random) -> None:
    server, seconds = deployment.redis_server, dice.uniform(0.2, 4)
    match dice.choice(["restarted", "emptied", "paused", "frozen"]):
        case "restarted" as what:
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(server.start)
        case "emptied" as what:
            with deployment.redis() as client:
                client.flushall()
        case "paused" as what:
            with deployment.redis() as client:
                client.execute_command("CLIENT", "PAUSE", round(seconds * 1000), "ALL")
            await asyncio.sleep(seconds)
        case what:
            server.freeze()
            await asyncio.sleep(seconds)
            server.thaw()
    report.count(f"Redis {what}")


# ---------------------------------------------------------------- PostgreSQL
async def cut_all_connections(deployment: Deployment, report: Report) -> None:
    cut = await asyncio.to_thread(deployment.rows, TERMINATE, OBSERVER)
    report.count("connections to PostgreSQL cut", cut[0][0])


def cut_final_save(deployment: Deployment, chat: str, *, times: int) -> int:
    """Hold the chat's row, which a final save takes first, and cut whatever waits for it. Returns how often."""
    cut, deadline = 0, time.monotonic() + WAIT_SECONDS
    with deployment.database() as holder, holder.transaction():
        holder.execute("SELECT FROM chats_chat WHERE id = %s FOR UPDATE", [chat])
        while cut < times and time.monotonic() < deadline:
            cut += deployment.rows(TERMINATE_BLOCKED, OBSERVER, holder.info.backend_pid)[0][0]
            time.sleep(0.02)
    return cut


async def count_connections(deployment: Deployment, report: Report) -> None:
    states = await asyncio.to_thread(deployment.connection_states)
    report.most("connections to PostgreSQL at most", states.total())
