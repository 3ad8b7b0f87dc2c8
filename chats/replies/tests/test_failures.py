"""Whatever a provider does, the reply ends in the right status with a clear cause, and the person's text stays."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chats.catalog.models import AIModel
from chats.errors import ModelUnavailable
from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply
from chats.replies.services import retry_reply
from chats.usage.models import UsageRecord

NO_WAIT = {"Retry-After": "0"}
CASES = {
    "a wrong key": (Script(status=401, body={"error": {"message": "bad key"}}), "failed", "provider_refused", 1),
    "an unknown model": (Script(status=404, body={"error": {"message": "no model"}}), "failed", "provider_rejected", 1),
    "too many requests": (Script(status=429, headers=NO_WAIT, body={}), "failed", "provider_busy", 3),
    "a failing server": (Script(status=500, headers=NO_WAIT, body={}), "failed", "provider_broken", 3),
    "a page instead of an answer": (
        Script(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
        "failed",
        "provider_nonsense",
        1,
    ),
    "garbage in the stream": (Script(text="one two three four", garbage_after=2), "failed", "provider_nonsense", 1),
    "half a stream": (Script(text="one two three four", drop_after=2), "incomplete", "stream_cut", 1),
    "no finish reason": (Script(text="one two", finish_reason=None), "incomplete", "stream_cut", 1),
    "the model's limit": (Script(text="one two", finish_reason="length"), "incomplete", "length", 1),
    "withheld content": (Script(text="one", finish_reason="content_filter"), "incomplete", "content_filter", 1),
    "silence": (Script(text="one two three", stall_after=2), "interrupted", "provider_timeout", 1),
    "comments and no content": (Script(comments_only=True), "failed", "provider_timeout", 1),
    "no answer at all": (Script(hang=True), "failed", "provider_timeout", 1),
}


@pytest.mark.parametrize(("script", "status", "code", "requests"), CASES.values(), ids=CASES.keys())
def test_a_failing_provider_ends_the_reply_clearly(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider, settings, script, status, code, requests
):
    if code == "provider_timeout":
        # The one that is to pass, and no other: a busy machine may need longer for the rest.
        setattr(settings, "PROVIDER_FIRST_TOKEN_SECONDS" if status == "failed" else "PROVIDER_SILENCE_SECONDS", 0.3)
    fake_provider.script("fake-1", script)

    started = say("Do not lose this")
    reply = ended(started)

    assert (reply.status, reply.error_code) == (status, code)
    assert reply.error_message
    assert "sk-fake" not in reply.error_message
    assert Message.objects.get(pk=started.message.pk).content == "Do not lose this"
    assert len(fake_provider.requests) == requests


def test_the_text_before_a_failure_is_kept_and_booked(say, ended, fake_provider):
    fake_provider.script("fake-1", Script(text="one two three four", drop_after=2))
    reply = ended(say())
    assert reply.message.content == "one two"
    assert UsageRecord.objects.get().is_estimated


def test_a_provider_that_is_not_there_is_said_to_be_unreachable(say, ended, openai_model):
    openai_model.provider.base_url = "http://127.0.0.1:9/v1"
    openai_model.provider.save()
    reply = ended(say())
    assert (reply.status, reply.error_code) == ("failed", "provider_unreachable")


def test_retry_answers_the_same_message_beside_the_failed_one(say, ended, fake_provider):
    fake_provider.script("fake-1", Script(status=401, body={}))
    failed = say("Hello")
    ended(failed)
    fake_provider.script("fake-1", Script())

    again = retry_reply(failed.reply)
    reply = ended(again)

    assert reply.status == "completed"
    assert reply.message.content == "Echo: Hello"
    assert again.message.pk == failed.message.pk
    assert again.answer.parent_id == failed.answer.parent_id
    again.chat.refresh_from_db()
    assert again.chat.current_leaf_id == again.answer.pk


def test_a_passing_failure_before_the_first_token_is_tried_again_unseen(say, ended, fake_provider):
    fake_provider.script("fake-1", Script(status=503, headers={"Retry-After": "1"}, body={}))
    started = say("Hello")
    assert fake_provider.wait_requests(1)
    fake_provider.script("fake-1", Script())
    reply = ended(started)
    assert reply.status == "completed"
    assert reply.message.content == "Echo: Hello"


def _posts_until_given_up(say, ended, fake_provider, script: Script) -> tuple[int, float, Reply]:
    """How many requests came for one reply that a provider like this failed, and how long all took."""
    fake_provider.script("fake-1", script)
    began = time.monotonic()
    reply = ended(say())
    return len(fake_provider.requests), time.monotonic() - began, reply


@pytest.mark.parametrize(
    ("script", "retries"),
    [
        (Script(status=429, headers=NO_WAIT, body={}), 0),
        (Script(status=429, headers=NO_WAIT, body={}), 1),
        (Script(status=502, headers=NO_WAIT, body={}), 4),
        (Script(text="one", error_after=0, error={"code": 503}), 1),
        (Script(drop_before=True), 1),
        (Script(raw=[b": nothing\n\n"]), 1),
    ],
)
def test_a_passing_failure_brings_exactly_so_many_requests(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider, settings, script, retries
):
    settings.PROVIDER_RETRIES = retries
    posts, _, reply = _posts_until_given_up(say, ended, fake_provider, script)
    assert (posts, reply.status) == (retries + 1, "failed")
    assert not UsageRecord.objects.exists()


@pytest.mark.parametrize("script", [Script(text="one two", drop_after=1), Script(text="one two", error_after=1)])
def test_nothing_is_asked_again_once_a_token_has_come(say, ended, fake_provider, script):
    posts, _, reply = _posts_until_given_up(say, ended, fake_provider, script)
    assert (posts, reply.message.content) == (1, "one")


def _in_three_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)


@pytest.mark.parametrize("wait", [lambda: "2", _in_three_seconds], ids=["in seconds", "as a date"])
def test_the_pause_is_as_long_as_the_provider_asks(say, ended, fake_provider, settings, wait):
    settings.PROVIDER_RETRIES = 1
    script = Script(status=429, headers={"Retry-After": wait()}, body={})
    posts, took, _ = _posts_until_given_up(say, ended, fake_provider, script)
    assert posts == 2
    assert 1.5 < took < 20


def test_a_longer_pause_than_allowed_is_not_waited_for(say, ended, fake_provider, settings):
    settings.PROVIDER_RETRY_AFTER_MAX_SECONDS = 5
    posts, took, reply = _posts_until_given_up(
        say, ended, fake_provider, Script(status=429, headers={"Retry-After": "40"})
    )
    assert (posts, reply.error_code) == (1, "provider_busy")
    assert took < 20


def test_a_model_may_have_limits_of_its_own(say, ended, fake_provider, settings, openai_model):
    settings.PROVIDER_FIRST_TOKEN_SECONDS = settings.PROVIDER_SILENCE_SECONDS = 0.2
    openai_model.first_token_seconds = openai_model.silence_seconds = 8
    openai_model.save()
    # Slower than the server's limits allow, and not too slow for this model.
    fake_provider.script("fake-1", Script(text="one two", first_token_seconds=0.5, tokens_per_second=2))
    assert ended(say()).status == "completed"

    settings.PROVIDER_FIRST_TOKEN_SECONDS = settings.PROVIDER_SILENCE_SECONDS = 60
    openai_model.first_token_seconds = openai_model.silence_seconds = 1
    openai_model.save()
    fake_provider.script("fake-1", Script(hang=True))
    assert "no text within 1 second" in ended(say()).error_message
    fake_provider.script("fake-1", Script(text="one two three", stall_after=2))
    reply = ended(say())
    assert (reply.error_code, reply.message.content) == ("provider_timeout", "one two")
    assert "silent for 1 second" in reply.error_message


def test_an_answer_over_the_size_limit_ends_incomplete_with_what_fits(say, ended, fake_provider, settings):
    settings.REPLY_MAX_BYTES = 50
    fake_provider.script("fake-1", Script(text="many words " * 100))
    reply = ended(say())
    assert (reply.status, reply.error_code) == ("incomplete", "length")
    assert reply.message.content == ("many words " * 100)[:50]


def test_an_answer_that_takes_too_long_ends_incomplete(say, ended, fake_provider, settings):
    settings.REPLY_TOTAL_SECONDS = 0.3
    fake_provider.script("fake-1", Script(text="one two three", stall_after=2))
    reply = ended(say())
    assert (reply.status, reply.error_code) == ("incomplete", "time")
    assert reply.message.content == "one two"


def test_a_model_disabled_while_its_reply_waits_is_not_asked(say, ended, fake_provider, openai_model):
    fake_provider.script("fake-1", Script(text="one two three", stall_after=1))
    first = say()
    assert fake_provider.wait_requests(1)
    second = say("And then?", chat_id=first.chat.pk)
    AIModel.objects.filter(pk=openai_model.pk).update(enabled=False)
    Reply.objects.filter(pk=first.reply.pk).update(stop_requested_at="2026-01-01T00:00:00Z")

    reply = ended(second)
    assert (reply.status, reply.error_code) == ("failed", ModelUnavailable.code)
    assert len(fake_provider.requests) == 1
