import threading
from datetime import UTC, datetime

import pytest
from django.core.cache import caches
from django.test import RequestFactory

from accounts import limits
from accounts.errors import TooMany
from accounts.peers import peer_of

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOUR = 3600


@pytest.fixture(params=["memory", "redis"])
def cache_kind(request, settings):
    """Limits hold in the process's memory and in Redis alike."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        settings.CACHES = {"default": {"BACKEND": "accounts.cache.RedisOrMemory", "LOCATION": url}}
        caches["default"].clear()
    yield
    if request.param == "redis":
        # Its pool would outlive the test, and a warning about open sockets with it.
        caches["default"].disconnect()


def passes(key: str = "k", *, limit: int = 3, seconds: int = HOUR) -> bool:
    try:
        limits.hit("test", key, limit=limit, seconds=seconds)
    except TooMany:
        return False
    return True


def test_so_many_pass_and_no_more(cache_kind, time_machine):
    time_machine.move_to(NOON)
    assert [passes() for _ in range(5)] == [True] * 3 + [False] * 2
    assert passes("another key")
    assert limits.count("test", "k", seconds=HOUR) == 3


def test_of_a_crowd_at_once_no_more_pass(cache_kind):
    start = threading.Barrier(16)
    passed = []

    def arrive() -> None:
        start.wait()
        passed.append(passes(limit=5))

    threads = [threading.Thread(target=arrive) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 5


def test_a_boundary_gives_no_second_helping(time_machine):
    time_machine.move_to(NOON.replace(minute=59, second=59), tick=False)
    assert [passes() for _ in range(3)] == [True] * 3
    time_machine.shift(2)
    assert not passes()


def test_the_wait_that_is_named_is_enough_and_not_much_too_long(time_machine):
    for minute in (0, 20, 59):
        for limit in (1, 3, 20):
            time_machine.move_to(NOON.replace(minute=minute), tick=False)
            key = f"{minute} {limit}"
            assert all(passes(key, limit=limit) for _ in range(limit))
            with pytest.raises(TooMany) as refused:
                limits.hit("test", key, limit=limit, seconds=HOUR)
            wait = refused.value.retry_after_seconds
            assert wait <= 2 * HOUR
            time_machine.shift(wait - 5)
            assert not passes(key, limit=limit)
            time_machine.shift(6)
            assert passes(key, limit=limit)


def test_a_refused_one_is_not_counted(time_machine):
    time_machine.move_to(NOON, tick=False)
    for _ in range(50):
        passes()
    time_machine.shift(2 * HOUR)
    assert passes()


def test_what_is_forgiven_was_not(cache_kind, time_machine):
    time_machine.move_to(NOON)
    assert [passes(limit=1), passes(limit=1)] == [True, False]
    limits.forgive("test", "k", seconds=HOUR)
    limits.forgive("test", "k", seconds=HOUR)
    assert [passes(limit=1), passes(limit=1)] == [True, False]


def test_a_hold_lets_one_through(cache_kind):
    limits.hold("line", "k", seconds=30)
    with pytest.raises(TooMany) as refused:
        limits.hold("line", "k", seconds=30)
    assert 29 <= refused.value.retry_after_seconds <= 30
    limits.hold("line", "another", seconds=30)


def test_any_text_can_be_a_key(cache_kind):
    for key in ("", "x" * 100_000, "a b\r\n\0", "\udfff", "👩‍👩‍👧"):
        assert passes(key)


# ---------------------------------------------------------------- peers


def peer(remote: str, forwarded: str | None = None) -> str:
    extra = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return peer_of(RequestFactory().get("/", REMOTE_ADDR=remote, **extra))


def test_a_forwarded_address_is_not_believed_by_default():
    assert peer("198.51.100.7", "10.0.0.1") == "198.51.100.7"


@pytest.mark.parametrize(
    ("count", "forwarded", "expected"),
    [
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "1.1.1.1, 203.0.113.5", "203.0.113.5"),
        (2, "1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        (2, "203.0.113.5", "198.51.100.7"),
        (1, "", "198.51.100.7"),
        (1, " , ,", "198.51.100.7"),
        (1, "nonsense", "unknown"),
        (1, "203.0.113.5:4711", "203.0.113.5"),
        (1, "[2001:db8::1]:4711", "2001:db8::/64"),
    ],
)
def test_behind_proxies_only_their_entries_are_believed(settings, count, forwarded, expected):
    settings.TRUSTED_PROXY_COUNT = count
    assert peer("198.51.100.7", forwarded) == expected


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_one_network_is_one_peer(remote, expected):
    assert peer(remote) == expected
