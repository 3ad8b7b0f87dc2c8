"""When a model does not come to its first token, the one that staff chose for that answers, and everybody is told."""

import json
import threading
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import User
from chats.catalog.models import AIModel, Provider
from chats.catalog.services import set_fallback, set_price
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Message, Reply
from chats.replies import claims, lease, rows
from chats.replies.services import retry_reply, stop_reply
from chats.usage.models import UsageRecord
from config.tests.live import wait_until

REFUSED = Script(status=401, body={"error": {"message": "bad key"}})
BUSY = Script(status=429, headers={"Retry-After": "0"}, body={})
NOTICE = "Fake model did not answer; Second answered instead."
NOTICE_OF_THIRD = "Fake model did not answer; Third answered instead."
WORDS = [f" word{i}" for i in range(40)]


@pytest.fixture
def second(openai_model: AIModel) -> AIModel:
    """Answers in place of the first model, at 2 USD in and 20 USD out."""
    return _stand_in(openai_model, "Second", "fake-2", price=("2", "20"))


@pytest.fixture
def third(second: AIModel) -> AIModel:
    return _stand_in(second, "Third", "fake-3", price=("3", "30"))


def _stand_in(model: AIModel, name: str, model_id: str, *, price: tuple[str, str]) -> AIModel:
    other = AIModel.objects.create(
        provider=model.provider, name=name, model_id=model_id, enabled=True, order=90, default_settings={"seed": 7}
    )
    set_price(other, input_per_million=Decimal(price[0]), output_per_million=Decimal(price[1]))
    set_fallback(model, other)
    return other


def _posts(fake_provider: FakeProvider) -> list[str]:
    return [request.body["model"] for request in fake_provider.requests if request.method == "POST"]


FAILURES = {
    "a refused key": (REFUSED, 1),
    "an unknown model": (Script(status=404, body={}), 1),
    "a busy server": (BUSY, 3),
    "a failing server": (Script(status=500, headers={"Retry-After": "0"}, body={}), 3),
    "a web page": (Script(body=b"<html>Welcome</html>"), 1),
    "no text in time": (Script(comments_only=True), 1),
    "garbage": (Script(text="one", garbage_after=0), 1),
    "an error in the stream": (Script(text="one", error_after=0, error={"code": 400, "message": "no"}), 1),
    "only [DONE]": (Script(raw=[b"data: [DONE]\n\n"]), 1),
    "a long wait": (Script(status=429, headers={"Retry-After": "3600"}, body={}), 1),
}


@pytest.mark.parametrize(("script", "requests"), FAILURES.values(), ids=FAILURES.keys())
def test_another_model_answers_after_the_first_ones_own_retries(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider: FakeProvider, settings, second: AIModel, script: Script, requests: int
) -> None:
    settings.PROVIDER_FIRST_TOKEN_SECONDS = 0.5
    fake_provider.script("fake-1", script)
    reply = ended(say("Hello"))

    assert (reply.status, reply.error_code, reply.message.content) == ("completed", "", "Echo: Hello")
    assert (reply.model, reply.message.model, reply.fallback_from.name) == (second, second, "Fake model")
    assert reply.message.notice == NOTICE
    assert _posts(fake_provider) == ["fake-1"] * requests + ["fake-2"]
    assert fake_provider.requests[-1].body["seed"] == 7, "each model has settings of its own"


def test_it_is_booked_at_the_price_of_who_answered_and_the_failed_call_costs_nothing(
    say, ended, fake_provider: FakeProvider, second: AIModel
) -> None:
    fake_provider.script("fake-1", REFUSED)
    reply = ended(say("Hello"))
    record = UsageRecord.objects.get()
    assert (record.model, record.model_name, record.price) == (second, "Second", second.price_at(timezone.now()))
    assert record.cost == (record.input_tokens * Decimal(2) + record.output_tokens * Decimal(20)) / 1_000_000
    assert reply.price == record.price
    assert not record.is_estimated


def test_a_failed_call_that_was_billed_is_booked_to_the_model_that_failed(
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    billed = b'data: {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}\n\n'
    broken = b'data: {"error": {"message": "No", "code": 500}}\n\n'
    fake_provider.script("fake-1", Script(raw=[billed + broken]))
    reply = ended(say("Hello"))

    failed = UsageRecord.objects.filter(model=openai_model)
    assert [(call.input_tokens, call.cost, call.message) for call in failed] == [(1000, Decimal("0.00125"), None)] * 3
    answered = UsageRecord.objects.get(model=second)
    assert answered.message == reply.message
    assert answered.input_tokens < 1000


def test_the_whole_chain_is_asked_in_turn(say, ended, fake_provider: FakeProvider, third: AIModel) -> None:
    fake_provider.script("fake-1", REFUSED)
    fake_provider.script("fake-2", BUSY)
    reply = ended(say("Hello"))
    assert (reply.model, reply.message.notice) == (third, NOTICE_OF_THIRD)
    assert _posts(fake_provider) == ["fake-1", "fake-2", "fake-2", "fake-2", "fake-3"]


def test_when_all_fail_the_cause_is_the_first_ones(
    say, ended, fake_provider: FakeProvider, third: AIModel, openai_model: AIModel
) -> None:
    fake_provider.script("fake-1", REFUSED)
    fake_provider.script("fake-2", Script(status=404, body={}))
    fake_provider.script("fake-3", Script(status=413, body={}))
    reply = ended(say("Hello"))

    assert (reply.status, reply.error_code) == ("failed", "provider_refused")
    assert "bad key" in reply.error_message
    assert (reply.model, reply.fallback_from, reply.price.model) == (openai_model, None, openai_model)
    assert (reply.message.model, reply.message.notice) == (openai_model, "")
    assert _posts(fake_provider) == ["fake-1", "fake-2", "fake-3"]
    assert not UsageRecord.objects.exists()


@pytest.mark.parametrize(
    "script",
    [
        Script(text="one two three", drop_after=1),
        Script(text="one two three", garbage_after=1),
        Script(text="one two three", error_after=1),
        Script(text="", reasoning=["Hm"], finish_reason=None),
        Script(text="", tool_calls=[("f", "{}")], finish_reason=None),
        Script(text="", finish_reason="content_filter"),
        Script(text="", finish_reason="length"),
        Script(text=""),
    ],
)
def test_a_model_that_began_or_said_that_it_was_done_keeps_its_answer(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel, script: Script
) -> None:
    fake_provider.script("fake-1", script)
    reply = ended(say("Hello"))
    assert (reply.model, reply.fallback_from, reply.message.notice) == (openai_model, None, "")
    assert _posts(fake_provider) == ["fake-1"]


def test_a_stand_in_that_breaks_off_is_told_as_its_own_failure(
    say, ended, fake_provider: FakeProvider, second: AIModel
) -> None:
    fake_provider.script("fake-1", REFUSED)
    fake_provider.script("fake-2", Script(text="one two three", drop_after=2))
    reply = ended(say("Hello"))
    assert (reply.status, reply.error_code, reply.message.content) == ("incomplete", "stream_cut", "one two")
    assert (reply.model, reply.message.notice) == (second, NOTICE)
    assert UsageRecord.objects.get().model == second


# ---------------------------------------------------------------- who may


def _turn_off(model: AIModel) -> None:
    AIModel.objects.filter(pk=model.pk).update(enabled=False)


def _turn_provider_off(model: AIModel) -> None:
    model.provider = Provider.objects.create(name="Elsewhere", base_url=model.provider.base_url, enabled=False)
    model.save()


def _give_to_a_group(model: AIModel) -> None:
    model.groups.add(Group.objects.create(name="Research"))


@pytest.mark.parametrize("close", [_turn_off, _turn_provider_off, _give_to_a_group])
def test_a_stand_in_that_this_person_may_not_use_now_is_passed_over(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider: FakeProvider, third: AIModel, second: AIModel, close: Callable[[AIModel], None]
) -> None:
    close(second)
    fake_provider.script("fake-1", REFUSED)
    reply = ended(say("Hello"))
    assert (reply.model, reply.message.notice) == (third, NOTICE_OF_THIRD)
    assert "fake-2" not in _posts(fake_provider)


def test_it_counts_who_may_at_the_time_of_the_failure(
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    gate = threading.Event()
    fake_provider.script("fake-1", Script(status=401, body={}, gate=gate))
    started = say("Hello")
    assert fake_provider.wait_requests(1)
    _give_to_a_group(second)
    gate.set()
    reply = ended(started)
    assert (reply.status, reply.model) == ("failed", openai_model)


def test_a_model_that_was_turned_off_while_its_reply_waited_is_stood_in_for(
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    gate = threading.Event()
    fake_provider.script("fake-1", Script(text="one two", gate=gate, gate_after=1))
    first = say("Hello")
    assert fake_provider.wait_requests(1)
    waiting = say("And then?", chat_id=first.chat.pk)
    _turn_off(openai_model)
    gate.set()
    assert ended(first).model == openai_model
    reply = ended(waiting)
    assert (reply.status, reply.model, reply.message.notice) == ("completed", second, NOTICE)


def test_a_circle_made_behind_our_back_comes_to_an_end(
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    AIModel.objects.filter(pk=second.pk).update(fallback=openai_model)
    fake_provider.script("fake-1", REFUSED)
    fake_provider.script("fake-2", REFUSED)
    assert ended(say("Hello")).status == "failed"
    assert _posts(fake_provider) == ["fake-1", "fake-2"]


# ---------------------------------------------------------------- stop, restart, retry


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Script(status=429, headers={"Retry-After": "20"}, body={}), None),
        (REFUSED, Script(hang=True)),
        (REFUSED, Script(status=429, headers={"Retry-After": "20"}, body={})),
    ],
    ids=["in a pause of the first", "before the stand-in's first token", "in a pause of the stand-in"],
)
def test_a_stop_ends_at_once_and_leaves_the_model_that_was_asked_for(  # noqa: PLR0917 - the cast, and a row of the table
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel, first: Script, then: Script | None
) -> None:
    fake_provider.script("fake-1", first)
    if then:
        fake_provider.script("fake-2", then)
    started = say("Hello")
    assert fake_provider.wait_requests(2 if then else 1)

    stop_reply(started.reply)
    wait_until(lambda: not Reply.objects.unfinished().exists(), seconds=5, what="the stop is heeded")
    reply = ended(started)
    assert (reply.status, reply.model, reply.fallback_from) == ("stopped", openai_model, None)
    assert (reply.message.model, reply.message.notice) == (openai_model, "")
    assert fake_provider.wait_idle(timeout=5)
    assert len(fake_provider.requests) == (2 if then else 1)
    assert not UsageRecord.objects.exists()


def test_a_takeover_books_the_lost_part_to_its_writer_and_starts_again_with_the_first(  # noqa: PLR0917 - the cast
    say, ended, fake_provider: FakeProvider, settings, second: AIModel, openai_model: AIModel
) -> None:
    settings.REPLY_MAX_ATTEMPTS = 3
    fake_provider.script("fake-1", REFUSED)
    fake_provider.script("fake-2", Script(chunks=WORDS, gate=threading.Event(), gate_after=10))
    started = say("Hello")
    wait_until(
        lambda: Message.objects.get(pk=started.answer.pk).content == "".join(WORDS[:10]),
        seconds=5,
        what="ten words are stored",
    )
    reply = Reply.objects.select_related("message").get(pk=started.reply.pk)
    assert (reply.model, reply.fallback_from, reply.message.model) == (second, openai_model, second)
    assert reply.message.notice == NOTICE, "a page opened now says who writes"

    # As another worker would, once this one was not heard of for long enough.
    Reply.objects.filter(pk=reply.pk).update(heartbeat_at=reply.created_at - timedelta(hours=1))
    job = claims.claim(started.reply.pk, "another-worker")
    assert job is not None
    assert (job.model, job.target.model_id, job.price.model) == (openai_model, "fake-1", openai_model)
    reply.refresh_from_db()
    assert (reply.model, reply.fallback_from, reply.attempt) == (openai_model, None, 2)
    lost = UsageRecord.objects.get()
    assert (lost.model, lost.price.model, lost.is_estimated) == (second, second, True)

    assert fake_provider.wait_closed(1), "the worker that lost it lets go"
    fake_provider.script("fake-1", Script())
    rows.release([lease.Snapshot(job, seq=job.reply.snapshot_seq, text="", reasoning="")])
    reply = ended(started)
    assert (reply.status, reply.model, reply.message.content) == ("completed", openai_model, "Echo: Hello")
    assert (reply.message.model, reply.message.notice) == (openai_model, "")
    assert [record.model for record in UsageRecord.objects.order_by("pk")] == [second, openai_model]


def test_asking_again_asks_the_model_that_was_asked_for(
    say, ended, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    fake_provider.script("fake-1", REFUSED)
    started = say("Hello")
    ended(started)
    fake_provider.script("fake-1", Script())
    reply = ended(retry_reply(Reply.objects.get(pk=started.reply.pk)))
    assert (reply.model, reply.fallback_from, reply.message.notice) == (openai_model, None, "")


# ---------------------------------------------------------------- what is told


def _events(live, secret: str, reply_id: object) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{live.base_url}/api/v1/replies/{reply_id}/events/")
    request.add_header("Authorization", f"Bearer {secret}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_viewers_and_programs_are_told(  # noqa: PLR0917 - the cast
    live, say, ended, owner: User, api_of, fake_provider: FakeProvider, second: AIModel, openai_model: AIModel
) -> None:
    fake_provider.script("fake-1", REFUSED)
    started = say("Hello")
    ended(started)
    program = api_of(owner)
    secret = program._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")

    events = _events(live, secret, started.reply.pk)
    told = next(event for event in events if event["type"] == "reply.fallback")
    assert (told["model"], told["fallback_from"], told["notice"]) == (str(second.pk), str(openai_model.pk), NOTICE)
    assert told["because"]["code"] == "provider_refused"
    assert "bad key" in told["because"]["message"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))

    last = events[-1]
    assert (last["status"], last["fallback_from"]) == ("completed", str(openai_model.pk))
    assert (last["message"]["model"], last["message"]["notice"]) == (str(second.pk), NOTICE)

    reply = program.get(f"/api/v1/replies/{started.reply.pk}/").json()
    assert (reply["model"], reply["fallback_from"]) == (str(second.pk), str(openai_model.pk))
    assert program.get(f"/api/v1/messages/{started.answer.pk}/").json()["notice"] == NOTICE


def test_the_page_says_it_in_one_line(  # noqa: PLR0917 - the cast
    say, ended, owner: User, client_of, fake_provider: FakeProvider, second: AIModel
) -> None:
    AIModel.objects.filter(pk=second.pk).update(name="<b>Second</b>")
    fake_provider.script("fake-1", REFUSED)
    started = say("Hello")
    ended(started)
    page = client_of(owner).get(f"/chats/{started.chat.pk}/").content.decode()
    assert "Fake model did not answer; &lt;b&gt;Second&lt;/b&gt; answered instead." in page
