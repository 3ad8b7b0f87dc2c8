"""Refuses to start with settings that are unsafe in production or cannot work, each with a hint.

Errors stop every command that runs Django's checks, `serve` among them. What is dangerous only in production is at
most a warning elsewhere.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name for it

from chats.replies.events import EVENT_MIN_BYTES
from config import logs

ENVIRONMENTS = ("local", "production")
SECRET_MIN_CHARACTERS = 50
ENCRYPTION_KEY_MIN_CHARACTERS = 32
HOW_TO_MAKE_ONE = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(64))"'
# What people leave in from examples and tutorials.
PLACEHOLDER = re.compile(r"insecure|change.?me|example|placeholder|your.?secret|secret.?key", re.IGNORECASE)

LIMIT = re.compile(r"_(SECONDS|BYTES|BURST|SIZE|THREADS|ATTEMPTS|RETRIES|COUNT)$|_PER_")
MAY_BE_ZERO = {
    "CHAT_UNDO_SECONDS",
    "DATABASE_POOL_MIN_SIZE",
    "LOGIN_DELAY_MAX_SECONDS",
    "OIDC_KEYS_REFRESH_SECONDS",
    "OIDC_LEEWAY_SECONDS",
    "PROVIDER_RETRIES",
    "PROVIDER_RETRY_AFTER_MAX_SECONDS",
    "SECURE_HSTS_SECONDS",
    "SHUTDOWN_GRACE_SECONDS",
    "SQLITE_WAIT_SECONDS",
    "TRUSTED_PROXY_COUNT",
}
# With the reason.
LOWEST = {
    "CLIENT_ID_MEMORY_SECONDS": (86_400, "a day, which clients count on"),
    "EVENT_MAX_BYTES": (EVENT_MIN_BYTES, "so much an event has beside its text"),
}
# An answer may be so many times as long as an event. A piece of it is about a sixth of an event, as the worst
# characters need six bytes: that makes 7,000 pieces at most, fewer than the numbers that a lost attempt leaves free.
REPLY_TO_EVENT_MAX = 1_000
# (smaller, greater): the first must not exceed the second.
ORDERED_LIMITS = (
    ("DATABASE_POOL_MIN_SIZE", "DATABASE_POOL_MAX_SIZE"),
    ("REPLY_HEARTBEAT_SECONDS", "REPLY_STALE_SECONDS"),
    ("MESSAGE_MAX_BYTES", "DATA_UPLOAD_MAX_MEMORY_SIZE"),
)


@register(Tags.security)
def check_environment(**_: Any) -> Iterable[CheckMessage]:
    if settings.ENVIRONMENT not in ENVIRONMENTS:
        yield Error(
            f"ENVIRONMENT is {settings.ENVIRONMENT!r}, which is neither local nor production.",
            hint="Set ENVIRONMENT=production on servers; anything else would run without its safety.",
            id="parley.E001",
        )


@register(Tags.security)
def check_debug(**_: Any) -> Iterable[CheckMessage]:
    if settings.IS_PRODUCTION and settings.DEBUG:
        yield Error(
            "DEBUG is on in production: error pages would show settings and source to everybody.",
            hint="Remove DEBUG from the environment.",
            id="parley.E002",
        )


@register(Tags.security)
def check_database_and_redis(**_: Any) -> Iterable[CheckMessage]:
    if settings.IS_SQLITE and settings.REDIS_URL:
        yield Error(
            "REDIS_URL is set, but the database is an SQLite file, which one process owns alone.",
            hint="Set DATABASE_URL to PostgreSQL for several nodes, or remove REDIS_URL.",
            id="parley.E013",
        )
    elif not settings.IS_SQLITE and not settings.REDIS_URL and "DATABASE_URL" not in settings.UNREADABLE:
        yield Error(
            "DATABASE_URL is PostgreSQL without a REDIS_URL: nodes could not follow or stop each other's replies.",
            hint="Set REDIS_URL, or remove DATABASE_URL to run one process on SQLite.",
            id="parley.E014",
        )


@register(Tags.security)
def check_redis(**_: Any) -> Iterable[CheckMessage]:
    if not settings.REDIS_URL:
        return
    import redis  # noqa: PLC0415 - most installations have none

    try:
        redis.ConnectionPool.from_url(settings.REDIS_URL)
    except ValueError:
        yield Error(
            "REDIS_URL is not the address of a Redis.",
            hint="Write redis://HOST:6379/0, or rediss:// with TLS.",
            id="parley.E018",
        )


@register(Tags.security)
def check_who_runs_replies(**_: Any) -> Iterable[CheckMessage]:
    if settings.IS_SQLITE and not settings.RUNS_REPLIES:
        yield Error(
            "RUNS_REPLIES is off, but the database is an SQLite file, which one process owns: nobody would answer.",
            hint="Remove RUNS_REPLIES, or set DATABASE_URL and REDIS_URL and start `manage.py worker` beside this.",
            id="parley.E017",
        )


@register(Tags.security)
def check_readable(**_: Any) -> Iterable[CheckMessage]:
    for name, (fault, hint) in settings.UNREADABLE.items():
        yield Error(f"{name} is {fault}.", hint=hint, id="parley.E016")


@register(Tags.security)
def check_secret_key(**_: Any) -> Iterable[CheckMessage]:
    if settings.IS_PRODUCTION and is_weak(settings.SECRET_KEY, minimum=SECRET_MIN_CHARACTERS):
        yield Error(
            f"SECRET_KEY is missing, a placeholder, or shorter than {SECRET_MIN_CHARACTERS} characters: "
            "sessions could be forged.",
            hint=HOW_TO_MAKE_ONE,
            id="parley.E003",
        )


@register(Tags.security)
def check_encryption_keys(**_: Any) -> Iterable[CheckMessage]:
    keys = settings.ENCRYPTION_KEYS
    is_unsafe = not keys or any(is_weak(key, minimum=ENCRYPTION_KEY_MIN_CHARACTERS) for key in keys)
    if settings.IS_PRODUCTION and is_unsafe:
        yield Error(
            "ENCRYPTION_KEYS is empty or has a weak key: the keys of AI providers could not be kept safe.",
            hint=f"{HOW_TO_MAKE_ONE} Keep it with your backups: without it stored provider keys can't be read.",
            id="parley.E004",
        )


@register(Tags.security)
def check_allowed_hosts(**_: Any) -> Iterable[CheckMessage]:
    has_wildcard = "*" in settings.ALLOWED_HOSTS
    if settings.IS_PRODUCTION and (has_wildcard or not settings.ALLOWED_HOSTS):
        yield Error(
            "ALLOWED_HOSTS is empty or contains `*`: any site could open sockets here in the name of its visitors.",
            hint="Set FRONTEND_HOST=https://chat.example.org, or ALLOWED_HOSTS to the names people type.",
            id="parley.E005",
        )
    elif has_wildcard:
        yield Warning(
            "ALLOWED_HOSTS contains `*`: every site your browser visits may open sockets here.",
            hint="Name the hosts instead.",
            id="parley.W005",
        )


@register(Tags.security)
def check_cookies(**_: Any) -> Iterable[CheckMessage]:
    unsafe = [name for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE") if not getattr(settings, name)]
    if settings.IS_PRODUCTION and unsafe:
        yield Error(
            f"{' and '.join(unsafe)} off in production: a login would travel readable over plain HTTP.",
            hint="Remove it from the environment: in production it is on by itself.",
            id="parley.E006",
        )


@register(Tags.security)
def check_tls(**_: Any) -> Iterable[CheckMessage]:
    is_behind_proxy = settings.TRUSTED_PROXY_COUNT > 0
    if not settings.IS_PRODUCTION:
        return
    if not settings.SECURE_SSL_REDIRECT and not is_behind_proxy:
        yield Error(
            "SECURE_SSL_REDIRECT is off and no proxy is named: people could log in over plain HTTP.",
            hint="Put a TLS proxy in front and set TRUSTED_PROXY_COUNT=1, or leave SECURE_SSL_REDIRECT on.",
            id="parley.E007",
        )
    if settings.SECURE_SSL_REDIRECT and not is_behind_proxy:
        yield Warning(
            "SECURE_SSL_REDIRECT is on and TRUSTED_PROXY_COUNT is 0: behind a TLS proxy every page redirects for ever.",
            hint="Set TRUSTED_PROXY_COUNT to the number of proxies in front (usually 1); see docs/deploy.md.",
            id="parley.W007",
        )


@register(Tags.security)
def check_origins(**_: Any) -> Iterable[CheckMessage]:
    origins = [*settings.BACKEND_CORS_ORIGINS, *filter(None, [settings.FRONTEND_HOST])]
    for origin in origins:
        if not is_origin(origin, needs_https=settings.IS_PRODUCTION):
            yield Error(
                f"{origin!r} in BACKEND_CORS_ORIGINS or FRONTEND_HOST is not an origin that can be trusted.",
                hint="Write scheme and host without a path, in production with https: https://chat.example.org. "
                "`*` is never accepted.",
                id="parley.E008",
            )


@register(Tags.database)
def check_sqlite_is_writable(**_: Any) -> Iterable[CheckMessage]:
    if not settings.IS_SQLITE:
        return
    file = Path(settings.DATABASES["default"]["NAME"])
    if not can_write(file):
        yield Error(
            f"The database file {file} can't be written.",
            hint="Give this user the folder, or set DATA_DIR (or DATABASE_URL) to a place that can be written.",
            id="parley.E009",
        )


@register()
def check_limits(**_: Any) -> Iterable[CheckMessage]:
    for name in filter(LIMIT.search, dir(settings)):
        value = getattr(settings, name)
        if isinstance(value, int | float) and not is_possible(name, value):
            yield Error(
                f"{name} is {value:g}, which is impossible.",
                hint=f"{lowest_of(name)}Remove it from the environment to get the default, see .env.example.",
                id="parley.E010",
            )
    for smaller, greater in ORDERED_LIMITS:
        if getattr(settings, smaller) > getattr(settings, greater):
            yield Error(
                f"{smaller} is greater than {greater}.", hint="Raise the second or lower the first.", id="parley.E010"
            )


@register()
def check_events(**_: Any) -> Iterable[CheckMessage]:
    if settings.REPLY_MAX_BYTES > REPLY_TO_EVENT_MAX * settings.EVENT_MAX_BYTES:
        yield Error(
            f"REPLY_MAX_BYTES is over {REPLY_TO_EVENT_MAX:,} times EVENT_MAX_BYTES: too many events for one answer.",
            hint="Raise EVENT_MAX_BYTES or lower REPLY_MAX_BYTES.",
            id="parley.E015",
        )


@register()
def check_durability(**_: Any) -> Iterable[CheckMessage]:
    if settings.SQLITE_SYNCHRONOUS.upper() not in {"OFF", "NORMAL", "FULL", "EXTRA"}:
        yield Error(
            f"SQLITE_SYNCHRONOUS is {settings.SQLITE_SYNCHRONOUS!r}.", hint="Use FULL or NORMAL.", id="parley.E011"
        )
    elif settings.IS_PRODUCTION and settings.IS_SQLITE and settings.SQLITE_SYNCHRONOUS.upper() == "OFF":
        yield Error(
            "SQLITE_SYNCHRONOUS is OFF in production: a crash of the machine could destroy the database.",
            hint="Use FULL (survives a power cut) or NORMAL (survives the death of the process).",
            id="parley.E011",
        )


@register()
def check_logging(**_: Any) -> Iterable[CheckMessage]:
    for name, allowed in (("LOG_LEVEL", logs.LEVELS), ("LOG_FORMAT", logs.FORMATS)):
        if getattr(settings, name) not in allowed:
            yield Error(
                f"{name} is {getattr(settings, name)!r}.", hint=f"Use one of {', '.join(allowed)}.", id="parley.E012"
            )
    if settings.LOG_FILE and not can_write(Path(settings.LOG_FILE)):
        yield Error(
            f"The log file {settings.LOG_FILE} can't be written.",
            hint="Make its folder, give it to this user, or remove LOG_FILE: logs go to stdout as well.",
            id="parley.E012",
        )


def is_possible(name: str, value: float) -> bool:
    """Whether the limit `name` may be so low."""
    if name in LOWEST:
        return value >= LOWEST[name][0]
    return value > 0 or (value == 0 and name in MAY_BE_ZERO)


def lowest_of(name: str) -> str:
    return f"It must be at least {LOWEST[name][0]}: {LOWEST[name][1]}. " if name in LOWEST else ""


def is_weak(secret: str, *, minimum: int) -> bool:
    return len(secret) < minimum or len(set(secret)) < 10 or PLACEHOLDER.search(secret) is not None


def is_origin(text: str, *, needs_https: bool) -> bool:
    parts = urlsplit(text)
    schemes = {"https"} if needs_https else {"https", "http"}
    return parts.scheme in schemes and bool(parts.hostname) and text == f"{parts.scheme}://{parts.netloc}"


def can_write(file: Path) -> bool:
    """Whether `file` can be written, or made where it does not exist yet."""
    return os.access(file, os.W_OK) if file.exists() else os.access(file.parent, os.W_OK | os.X_OK)
