"""One person's requests leave threads to others."""

import asyncio

import pytest

from config.turns import Turns, credential_of


async def test_of_one_key_only_so_many_are_let_in_and_of_another_one_at_once():
    turns, open_gate, is_other_in, inside = Turns(2), asyncio.Event(), asyncio.Event(), []

    async def enter(key):
        async with turns.of(key):
            inside.append(key)
            if key == "b":
                is_other_in.set()
            await open_gate.wait()

    crowd = [asyncio.create_task(enter("a")) for _ in range(5)]
    other = asyncio.create_task(enter("b"))
    await is_other_in.wait()
    assert inside.count("a") == 2
    crowd[4].cancel()
    open_gate.set()
    await asyncio.gather(*crowd, other, return_exceptions=True)
    assert inside.count("a") == 4
    assert not turns._queues


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"authorization", b"Bearer x"), (b"cookie", b"sessionid=y")], "Bearer x"),
        ([(b"cookie", b"theme=dark; sessionid=y")], "y"),
        ([(b"cookie", b"theme=dark")], "1.2.3.4"),
        ([(b"cookie", b"\xff;=;;sessionid")], "1.2.3.4"),
        ([], "1.2.3.4"),
    ],
)
def test_who_asks_is_told_by_what_is_shown(headers, expected):
    scope = {"headers": headers, "client": ("1.2.3.4", 5)}
    assert credential_of(scope, session_cookie="sessionid") == expected
