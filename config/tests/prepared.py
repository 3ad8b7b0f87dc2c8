"""What the deployments of one test run begin with: tables without rows, and the static files. Made once for all."""

import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from config.tests import servers
from config.tests.cluster import Cluster, collect, migrate, new_cluster, running
from config.tests.plugin import run_dir

_numbers = itertools.count()
SQLITE, TEMPLATE = "data/parley.sqlite3", "tables"


def new_database(name: str) -> str:
    """The DATABASE_URL of a new database with all tables, in the run's PostgreSQL."""
    _made("postgresql-tables", _migrate_template)
    return servers.new_database(os.environ["DATABASE_URL"], f"{name}_{os.getpid()}_{next(_numbers)}", template=TEMPLATE)


@contextmanager
def prepared_cluster(
    folder: Path, *, kinds: Mapping[str, str], database_url: str = "", redis_url: str = "", **environment: str
) -> Iterator[Cluster]:
    """As `cluster`, which begins at once: `database_url` is one of `new_database`, or none for SQLite."""
    if not database_url:
        (folder / "data").mkdir()
        shutil.copy(_made("sqlite-tables", _migrate_sqlite) / SQLITE, folder / SQLITE)
    environment["STATIC_ROOT"] = str(_made("static", _collect) / "static")
    made = new_cluster(folder, database_url=database_url, redis_url=redis_url, **environment)
    with running(made, kinds):
        yield made


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this run, made by whichever worker wants it first."""
    folder = run_dir() / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)  # of one that failed
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder


def _migrate_template(folder: Path) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(TEMPLATE)))
    url = servers.new_database(os.environ["DATABASE_URL"], TEMPLATE)
    migrate(new_cluster(folder, database_url=url, redis_url=os.environ["REDIS_URL"]))


def _migrate_sqlite(folder: Path) -> None:
    migrate(new_cluster(folder, database_url="", redis_url=""))


def _collect(folder: Path) -> None:
    collect(new_cluster(folder, database_url="", redis_url=""))
