"""DATABASE_URL and REDIS_URL are all it takes to run on other servers."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from accounts import limits
from accounts.errors import TooMany

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


def test_limits_count_on_redis(settings, redis_url):
    settings.CACHES = {"default": {"BACKEND": "accounts.cache.RedisOrMemory", "LOCATION": redis_url}}
    for _ in range(5):
        limits.hit("test", "someone", limit=5, seconds=60)
    with pytest.raises(TooMany):
        limits.hit("test", "someone", limit=5, seconds=60)
