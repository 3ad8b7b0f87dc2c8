"""Logs tell what happened, and never a secret."""

import json
import logging
import logging.config

import pytest
import structlog
from django.test import Client

from config import logs


@pytest.fixture
def log_lines(tmp_path):
    """`log_lines()`: what the JSON log has so far, as it would be written in production."""
    file = tmp_path / "parley.log"
    config = logs.logging_config(level="INFO", log_format="json", file=file)
    before = (logging.root.handlers[:], logging.root.level)
    logging.config.dictConfig(config)
    yield lambda: [json.loads(line) for line in (file.read_text().splitlines() if file.exists() else [])]
    for handler in set(logging.root.handlers) - set(before[0]):
        logging.root.removeHandler(handler)
        handler.close()
    logging.root.handlers[:], logging.root.level = before


def test_structured_and_plain_logs_look_alike(log_lines):
    structlog.get_logger("chats").info("reply_finished", status="completed")
    logging.getLogger("chats").info("plain %s", "words", extra={"status": "failed"})
    first, second = log_lines()
    assert first["event"] == "reply_finished"
    assert first["status"] == "completed"
    assert second["event"] == "plain words"
    assert second["status"] == "failed"
    assert first.keys() == second.keys()


def test_what_is_bound_to_a_request_is_in_every_line(log_lines):
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logging.getLogger("chats").warning("here")
    assert log_lines()[0]["request_id"] == "r-1"


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "api_key", "X-API-Key", "password", "token", "secret", "code_verifier"]
)
def test_a_field_named_like_a_secret_is_hidden(log_lines, name):
    structlog.get_logger("chats").info("event", **{"outer": {name: "canary-1234"}, name: "canary-1234"})
    assert "canary" not in json.dumps(log_lines())


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary-1234",
        "postgres://parley:canary-1234@db/parley",
        "GET /accounts/password/reset/key/canary-1234/",
        "GET /tools/oauth/callback/?code=canary-1234&state=canary-5678",
        "grant_type=refresh_token&refresh_token=canary-1234&resource=x",
        "code_verifier=canary-1234",
        '{"access_token": "canary-1234", "token_type": "Bearer"}',
        "{'client_secret': 'canary-1234'}",
        "key parley_canary-1234567890 used",
        "key sk-canary-1234567890 used",
    ],
)
def test_a_secret_in_a_text_is_hidden(log_lines, text):
    logging.getLogger("chats").info("it said %s", text)
    assert "canary" not in json.dumps(log_lines())


def test_counts_of_tokens_and_addresses_stay_readable(log_lines):
    structlog.get_logger("chats").info("usage", output_tokens=200, url="http://localhost:11434/v1")
    line = log_lines()[0]
    assert line["output_tokens"] == 200
    assert line["url"] == "http://localhost:11434/v1"


def test_a_query_string_is_never_logged(log_lines):
    structlog.get_logger("django_structlog").info("request_finished", request="GET /login/?next=/&key=canary")
    assert log_lines()[0]["request"] == "GET /login/"


def test_long_fields_are_cut(log_lines):
    structlog.get_logger("chats").info("long", body="x" * 100_000, parts=["y" * 100_000])
    assert len(json.dumps(log_lines()[0])) < 5_000


def test_a_traceback_keeps_its_last_line(log_lines):
    try:
        raise ValueError("the reason" + " " * 10)
    except ValueError:
        logging.getLogger("chats").exception("x" * 3_000)
    assert "ValueError: the reason" in log_lines()[0]["exception"]


@pytest.mark.parametrize("name", ["aiohttp.client", "uvicorn.access", "websockets.server", "django.request"])
def test_noisy_libraries_are_quiet(log_lines, name):
    logging.getLogger(name).info("chatter")
    assert log_lines() == []


def test_the_console_format_is_for_people(capsys):
    formatter = logs.logging_config(level="INFO", log_format="console", file=None)["formatters"]["console"]
    made = formatter.pop("()")(**formatter)
    line = made.format(logging.makeLogRecord({"name": "chats", "levelname": "INFO", "msg": "hello"}))
    assert "hello" in line
    assert not line.startswith("{")


@pytest.mark.parametrize(
    ("body", "status"), [("&".join(["a=1"] * 2_000), 400), ("x=" + "a" * 2_000_000, 413)], ids=["fields", "bytes"]
)
def test_a_form_that_is_refused_is_a_warning_of_one_line(log_lines, db, body, status):
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.get("/accounts/login/")  # with the cookie that makes the body be looked into for a token
    answer = client.generic("POST", "/accounts/login/", body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == status
    lines = [line for line in log_lines() if line["level"] not in ("info", "debug")]
    assert [line["level"] for line in lines] == ["warning"]
    assert not any("exception" in line or "Traceback" in str(line) for line in lines)


def test_a_refused_socket_is_no_error_of_the_server(log_lines):
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing handshake.")
    logging.getLogger("uvicorn.error").error("Something else")
    assert [line["event"] for line in log_lines()] == ["Something else"]
