"""Logging: structured, one line an event, to stdout and if wished to a rotating file; no secret in any of them."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import structlog
from structlog.types import EventDict, Processor

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS = ("console", "json")
FIELD_MAX_CHARACTERS = 2_000
TRACEBACK_MAX_CHARACTERS = 10_000
FILE_MAX_BYTES = 10_000_000
FILE_BACKUPS = 3
# Libraries that tell at INFO what only their authors want to know. `django.request` repeats at WARNING each 4xx
# that `request_finished` has already logged; uvicorn logs every socket with its query string.
QUIET = ("aiohttp", "asyncio", "markdown_it", "procrastinate", "urllib3", "uvicorn", "websockets")
QUIETER = ("django.request",)
# The client of MCP logs what it was sent, and what it sends, credentials among it. What matters is an error of ours.
SILENT = ("client", "httpcore2", "httpx2", "mcp")

REDACTED = "[redacted]"
# Names are matched at their end, so that `output_tokens` stays readable.
SECRET_NAME = re.compile(
    r"(authorization|cookie|api[-_]?key|password|secret|verifier|(^|[-_])token|_keys)$", re.IGNORECASE
)
# Each keeps its first group and hides the rest.
SECRET_TEXTS = (
    re.compile(r"((?:Bearer|Basic)\s+)[^\s'\"]+"),
    re.compile(r"(://[^/\s:@]*:)[^\s@/]+(?=@)"),  # a password in an address
    re.compile(r"(/(?:reset/key|confirm-email)/)[^/\s]+"),  # a link of a mail
    # What issuers and browsers tell each other, in an address, a form or JSON.
    re.compile(r"([?&](?:code|state)=)[^&\s'\"]+"),
    re.compile(
        r"(\b(?:access_token|refresh_token|id_token|client_secret|code_verifier)['\"]?\s*[=:]\s*['\"]?)[^&\s'\",}]+"
    ),
    re.compile(r"\b(parley_|sk-)[\w-]{8,}"),  # keys of ours and of providers
)


def redact(value: Any, *, key: str = "") -> Any:
    """`value` without secrets, and with every text in it cut to 2,000 characters, tracebacks to 10,000."""
    if SECRET_NAME.search(key):
        return REDACTED
    if isinstance(value, str):
        return _cut(_without_secrets(value), key=key)
    if isinstance(value, dict):
        return {name: redact(inner, key=str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner, key=key) for inner in value]
    return value


def _without_secrets(text: str) -> str:
    for pattern in SECRET_TEXTS:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return text


def _cut(text: str, *, key: str) -> str:
    if key == "exception":
        # The last lines of a traceback name the error.
        return text if len(text) <= TRACEBACK_MAX_CHARACTERS else f"…{text[-TRACEBACK_MAX_CHARACTERS:]}"
    return text if len(text) <= FIELD_MAX_CHARACTERS else f"{text[:FIELD_MAX_CHARACTERS]}…"


def redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if "request" in event:
        # A query string may carry anything people paste; the path says enough.
        event["request"] = str(event["request"]).partition("?")[0]
    return {key: redact(value, key=key) for key, value in event.items()}


def is_news(record: logging.LogRecord) -> bool:
    """Uvicorn takes every socket refused with an answer for one that was not answered at all."""
    return "without completing handshake" not in str(record.msg)


def calm(record: logging.LogRecord) -> bool:
    """Django takes a request it refuses, such as a form with too many fields, for a failure of the server.

    It is a line that warns, without a traceback: what went wrong is the client's.
    """
    if record.name.startswith("django.security."):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
    return True


# For events of structlog and of the standard library alike.
_BEFORE: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_BEFORE,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logging_config(*, level: str, log_format: str, file: Path | None) -> dict[str, Any]:
    """The value of Django's LOGGING. An unknown level or format is replaced here and reported by `config.checks`."""
    handlers: dict[str, Any] = {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": log_format if log_format in FORMATS else "console",
            "filters": ["calm"],
        }
    }
    if file:
        handlers["file"] = {
            "class": "logging.handlers.RotatingFileHandler",
            "filename": str(file),
            "maxBytes": FILE_MAX_BYTES,
            "backupCount": FILE_BACKUPS,
            "encoding": "utf-8",
            "delay": True,
            "formatter": "json",
            "filters": ["calm"],
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "console": _formatter(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())),
            "json": _formatter(structlog.processors.JSONRenderer(ensure_ascii=False)),
        },
        "filters": {"is_news": {"()": lambda: is_news}, "calm": {"()": lambda: calm}},
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": level if level in LEVELS else "INFO"},
        "loggers": {
            "django": {"handlers": [], "propagate": True, "level": "INFO"},
            "django.server": {"handlers": [], "propagate": True, "level": "INFO"},
            **{name: {"level": logging.WARNING} for name in QUIET},
            **{name: {"level": logging.ERROR} for name in QUIETER},
            **{name: {"level": logging.CRITICAL} for name in SILENT},
            # Whoever sends a wrong Host gets a 400, which is logged as every request is; its traceback tells nothing.
            "django.security.DisallowedHost": {"level": logging.CRITICAL},
            "uvicorn.error": {"filters": ["is_news"]},
        },
    }


def _formatter(renderer: Processor) -> dict[str, Any]:
    return {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": _BEFORE,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Before redaction, so that a traceback is a text like every other.
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
    }
