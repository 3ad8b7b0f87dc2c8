"""DATABASE_URL and REDIS_URL are all it takes to run on other servers."""

import os
import subprocess
import sys
import time

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from accounts import limits
from accounts.cache import _Present
from accounts.errors import TooMany
from accounts.models import User
from config.tests import servers

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
SHOW = """
import django; django.setup()
from django.db import connection
with connection.cursor() as cursor:
    for name in ("search_path", "statement_timeout"):
        cursor.execute(f"SHOW {name}")
        print(cursor.fetchone()[0])
"""


@pytest.mark.skipif(settings.IS_SQLITE, reason="SQLite has no schemas")
def test_a_schema_of_its_own_is_chosen_by_the_address():
    address = f"{os.environ['DATABASE_URL']}&options=-c%20search_path%3Dparley"
    environment = {**os.environ, "DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "config.settings"}
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["parley", "15s"]


@pytest.mark.skipif(settings.IS_SQLITE, reason="SQLite has no connections that could be cut")
def test_after_the_database_cut_every_connection_the_next_request_is_answered_at_once(transactional_db: None):
    connection.close()
    connection.pool.open()
    connection.pool.wait()
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        cut = other.execute(TERMINATE).fetchone()[0]
    assert cut >= connection.pool.min_size
    began = time.monotonic()
    assert User.objects.count() == 0
    # One after the other, with a longer pause after each, they would take half a minute.
    assert time.monotonic() - began < 5


def test_limits_count_in_the_process_while_redis_is_away(settings, monkeypatch):
    monkeypatch.setattr(_Present, "away_until", 0.0)
    location = f"redis://127.0.0.1:{servers.free_port()}/0"
    settings.CACHES = {"default": {"BACKEND": "accounts.cache.RedisOrMemory", "LOCATION": location}}
    for _ in range(5):
        limits.hit("test", "someone", limit=5, seconds=60)
    with pytest.raises(TooMany):
        limits.hit("test", "someone", limit=5, seconds=60)


def test_limits_count_on_redis(settings, redis_url):
    settings.CACHES = {"default": {"BACKEND": "accounts.cache.RedisOrMemory", "LOCATION": redis_url}}
    for _ in range(5):
        limits.hit("test", "someone", limit=5, seconds=60)
    with pytest.raises(TooMany):
        limits.hit("test", "someone", limit=5, seconds=60)
