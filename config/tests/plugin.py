"""Prepares a test run before Django reads its settings; loaded with `-p config.tests.plugin` for that reason.

`PARLEY_TEST_DATABASE` chooses `sqlite` (the default) or `postgres`. A run has one directory of its own for all its
state, so it never touches the developer's `var/` or `.env`, and one PostgreSQL server for all its workers.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError
from django.test import TransactionTestCase, override_settings
from xdist.scheduler import LoadScopeScheduling

from config.tests import servers

FLUSH_RETRIES = 5
_flush = TransactionTestCase._fixture_teardown
RUN_DIR = "PARLEY_TEST_RUN_DIR"
RUN_REDIS = "PARLEY_TEST_RUN_REDIS"
TEST_SETTINGS = override_settings(
    # Every test makes people; the real hasher takes a fifth of a second for each.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    # Nothing is collected before a test run, so there is no manifest to look names up in.
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    },
)
# Files whose tests share a deployment of several processes: one worker has them all, and starts it once.
DEPLOYED = frozenset(f"chats/replies/tests/test_{name}.py" for name in ("agent_kills", "chaos", "nodes", "silence"))


class Scheduling(LoadScopeScheduling):
    """Each test to whichever worker is free. The marks that pytest-xdist has for groups do nothing under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in DEPLOYED else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    # A wrapper runs before every plain hook, pytest-django's included, which reads the settings.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        start_run()
    os.environ.update(
        ENV_FILE=os.devnull,
        ENVIRONMENT="local",
        DEBUG="false",
        DATA_DIR=str(run_dir() / (worker or "main")),
        REDIS_URL=redis_url(worker),
        # The tests ask whether rows are right, not whether they survive a power cut.
        SQLITE_SYNCHRONOUS="OFF",
    )
    return (yield)


def pytest_configure() -> None:
    TEST_SETTINGS.enable()
    TransactionTestCase._fixture_teardown = _empty_tables


def pytest_unconfigure() -> None:
    TEST_SETTINGS.disable()
    TransactionTestCase._fixture_teardown = _flush
    if "PYTEST_XDIST_WORKER" not in os.environ and RUN_DIR in os.environ:
        end_run()


def redis_url(worker: str) -> str:
    """A database of its own for each worker in the run's Redis, so that none counts the requests of another."""
    if RUN_REDIS not in os.environ:
        return ""
    return os.environ[RUN_REDIS].removesuffix("/0") + f"/{int(worker.removeprefix('gw') or 0)}"


def _empty_tables(case: TransactionTestCase) -> None:
    """Django's flush, once more when PostgreSQL broke a deadlock by it: the live server reads rows at any moment."""
    for _ in range(FLUSH_RETRIES):
        try:
            return _flush(case)
        except CommandError as error:
            if not isinstance(error.__cause__, OperationalError):
                raise
    return _flush(case)


def run_dir() -> Path:
    return Path(os.environ[RUN_DIR])


def start_run() -> None:
    """Make the run's directory and its database server; the workers inherit both through the environment."""
    os.environ[RUN_DIR] = tempfile.mkdtemp(prefix="parley-test-")
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop(RUN_REDIS, None)
    chosen = os.environ.get("PARLEY_TEST_DATABASE", "sqlite")
    if chosen == "postgres":
        os.environ["DATABASE_URL"] = servers.start_postgresql(run_dir() / "postgresql")
        os.environ[RUN_REDIS] = servers.start_redis(run_dir() / "redis")
    elif chosen != "sqlite":
        raise pytest.UsageError(f"PARLEY_TEST_DATABASE is {chosen!r}; choose sqlite or postgres.")


def end_run() -> None:
    servers.stop_all()
    shutil.rmtree(os.environ.pop(RUN_DIR), ignore_errors=True)
