"""Whoever starts Parley with unsafe or impossible settings is told what to change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as the_settings
from django.core.checks import ERROR, run_checks
from django.test import override_settings

from config.environment import Environment

pytestmark = pytest.mark.rowless

STRONG = "q3Jx9-Wm_2LrT7vKzB1nD5sYpF8hGc4eUaRo6XtViQwNjMkZlPy0"
SAFE_PRODUCTION = {
    "ENVIRONMENT": "production",
    "IS_PRODUCTION": True,
    "DEBUG": False,
    "SECRET_KEY": STRONG,
    "ENCRYPTION_KEYS": [STRONG[::-1]],
    "ALLOWED_HOSTS": ["chat.example.org"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_SSL_REDIRECT": True,
    "TRUSTED_PROXY_COUNT": 1,
    "FRONTEND_HOST": "https://chat.example.org",
    "BACKEND_CORS_ORIGINS": ["https://app.example.org"],
    "SQLITE_SYNCHRONOUS": "FULL",
    "IS_SQLITE": False,
    "REDIS_URL": "redis://redis.internal:6379/0",
}


def complaints(**changes) -> dict[str, object]:
    """What the checks of Parley say of a safe production with these changes, by id."""
    with override_settings(**{**SAFE_PRODUCTION, **changes}):
        return {message.id: message for message in run_checks() if str(message.id).startswith("parley.")}


def test_a_safe_production_starts():
    assert complaints() == {}


def test_a_local_start_needs_no_settings():
    assert not [message for message in run_checks() if str(message.id).startswith("parley.E00")]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("parley.E001", {"ENVIRONMENT": "Production", "IS_PRODUCTION": False}),
        ("parley.E002", {"DEBUG": True}),
        ("parley.E003", {"SECRET_KEY": "insecure-not-set"}),
        ("parley.E003", {"SECRET_KEY": "change-me-" * 8}),
        ("parley.E003", {"SECRET_KEY": "abcdefghij"}),
        ("parley.E003", {"SECRET_KEY": "abab" * 20}),
        ("parley.E004", {"ENCRYPTION_KEYS": []}),
        ("parley.E004", {"ENCRYPTION_KEYS": [STRONG, "short"]}),
        ("parley.E005", {"ALLOWED_HOSTS": []}),
        ("parley.E005", {"ALLOWED_HOSTS": ["chat.example.org", "*"]}),
        ("parley.E006", {"SESSION_COOKIE_SECURE": False}),
        ("parley.E006", {"CSRF_COOKIE_SECURE": False}),
        ("parley.E013", {"IS_SQLITE": True}),
        ("parley.E014", {"REDIS_URL": ""}),
        ("parley.E007", {"SECURE_SSL_REDIRECT": False, "TRUSTED_PROXY_COUNT": 0}),
        ("parley.E008", {"BACKEND_CORS_ORIGINS": ["*"]}),
        ("parley.E008", {"BACKEND_CORS_ORIGINS": ["http://app.example.org"]}),
        ("parley.E008", {"BACKEND_CORS_ORIGINS": ["https://app.example.org/path"]}),
        ("parley.E008", {"FRONTEND_HOST": "chat.example.org"}),
        ("parley.E010", {"MESSAGE_MAX_BYTES": -1}),
        ("parley.E010", {"WEB_THREADS": 0}),
        ("parley.E010", {"DATABASE_POOL_MIN_SIZE": 30, "DATABASE_POOL_MAX_SIZE": 20}),
        ("parley.E010", {"REPLY_HEARTBEAT_SECONDS": 60.0}),
        ("parley.E010", {"EVENT_MAX_BYTES": 8_191}),
        ("parley.E010", {"CLIENT_ID_MEMORY_SECONDS": 86_399}),
        ("parley.E015", {"EVENT_MAX_BYTES": 10_000, "REPLY_MAX_BYTES": 10_000_001}),
        ("parley.E016", {"UNREADABLE": {"WEB_THREADS": ("'four', which is not a whole number", "See .env.example.")}}),
        ("parley.E017", {"RUNS_REPLIES": False, "IS_SQLITE": True}),
        ("parley.E018", {"REDIS_URL": "http://redis.internal"}),
        ("parley.E018", {"REDIS_URL": "redis://redis.internal:port"}),
        ("parley.E011", {"SQLITE_SYNCHRONOUS": "SOMETIMES"}),
        ("parley.E011", {"SQLITE_SYNCHRONOUS": "OFF", "IS_SQLITE": True}),
        ("parley.E012", {"LOG_LEVEL": "LOUD"}),
        ("parley.E012", {"LOG_FORMAT": "xml"}),
        ("parley.E012", {"LOG_FILE": "/nowhere/at/all/parley.log"}),
    ],
)
def test_an_unsafe_setting_is_an_error_with_a_hint(code, changes):
    found = complaints(**changes)
    assert found[code].level == ERROR
    assert found[code].hint


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("parley.W005", {"ENVIRONMENT": "local", "IS_PRODUCTION": False, "ALLOWED_HOSTS": ["*"]}),
        ("parley.W007", {"TRUSTED_PROXY_COUNT": 0}),
    ],
)
def test_a_doubtful_setting_is_a_warning(code, changes):
    found = complaints(**changes)
    assert found[code].level < ERROR
    assert found[code].hint


def test_a_database_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(the_settings.DATABASES["default"], "NAME", str(tmp_path / "missing" / "parley.sqlite3"))
    assert str(tmp_path) in complaints(IS_SQLITE=True)["parley.E009"].msg


def test_the_lowest_possible_is_said():
    assert "86400" in complaints(CLIENT_ID_MEMORY_SECONDS=60)["parley.E010"].hint


def test_what_cannot_be_read_is_named_with_a_hint_and_no_secret(tmp_path):
    wrong = {
        "DATABASE_URL": "mysql://parley:canary@db.internal/parley",
        "EMAIL_URL": "mail://parley:canary@mail.internal",
        "REDIS_URL": "http://:canary@redis.internal",
        "RUNS_REPLIES": "maybe",
        "WEB_THREADS": "four",
        "REPLY_STALE_SECONDS": "nan",
    }
    environment = {**os.environ, **wrong, "ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "manage.py", "check"]
    checked = subprocess.run(
        command, cwd=the_settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr
    for name in wrong:
        assert f"{name} is " in checked.stderr
    assert checked.stderr.count("HINT") == len(wrong)
    assert "canary" not in checked.stdout + checked.stderr


def test_every_spelling_of_yes_and_no_is_understood(monkeypatch):
    env = Environment()
    for text, expected in {"TRUE": True, "on": True, "1": True, "False": False, "off": False, "0": False}.items():
        monkeypatch.setenv("FLAG", text)
        assert env.bool("FLAG", default=not expected) is expected
    monkeypatch.setenv("FLAG", "")
    assert env.bool("FLAG", default=True), "empty is as not set"
    assert env.unreadable == {}


@pytest.mark.parametrize(
    ("url", "engine", "name"),
    [
        ("postgresql+psycopg://u:p@db/parley", "postgresql", "parley"),
        ("postgres://u:p@db:5433/parley", "postgresql", "parley"),
        ("sqlite:////data/parley.sqlite3", "sqlite3", "/data/parley.sqlite3"),
        ("", "sqlite3", "/default"),
        ("postgresql://", "dummy", None),
        ("postgresql://db:port/parley", "dummy", None),
        ("mysql://u:p@db/parley", "dummy", None),
        ("parley", "dummy", None),
    ],
)
def test_a_database_is_postgresql_or_sqlite_or_none(monkeypatch, url, engine, name):
    monkeypatch.setenv("DATABASE_URL", url)
    env = Environment()
    found = env.database("DATABASE_URL", default="sqlite:////default")
    assert (found["ENGINE"].rpartition(".")[2], found.get("NAME")) == (engine, name)
    assert bool(env.unreadable) == (engine == "dummy")


@pytest.mark.parametrize("command", [["check"], ["serve", "--port", "1"]])
def test_every_way_to_start_refuses(command, tmp_path):
    environment = {**os.environ, "ENVIRONMENT": "production", "DATA_DIR": str(tmp_path), "ALLOWED_HOSTS": "*"}
    root = Path(the_settings.BASE_DIR)
    started = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert started.returncode != 0
    assert "parley.E003" in started.stderr
    assert "HINT" in started.stderr
