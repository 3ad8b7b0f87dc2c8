"""A client_id is remembered for as long as is promised; then it is forgotten, and nothing else of its row."""

import asyncio
import threading
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings as the_settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services import create_api_key
from chats import doorbell, once
from chats.branches import fork_chat
from chats.models import Chat, Message, Reply
from chats.once import REMEMBERING, forget_client_ids
from chats.replies.services import start_reply
from chats.services import create_chat_once
from config.tests.threads import in_thread

MEMORY = timedelta(hours=48)


def age(by: timedelta) -> None:
    for model in REMEMBERING:
        model.objects.update(created_at=timezone.now() - by)


def send(user):
    return start_reply(user, content="Hello", client_id="once").reply.pk


def fork(user):
    message = Message.objects.filter(chat__user=user).earliest("created_at", "id")
    return fork_chat(user, message, client_id="once")[0].pk


def create(user):
    return create_chat_once(user, client_id="once", title="Mine")[0].pk


def make_key(user):
    return create_api_key(user, name="Mine", client_id="once")[0].pk


@pytest.fixture
def said(owner, demo_model):
    """Somebody has a message that can be forked."""
    return start_reply(owner, content="First")


@pytest.mark.parametrize("make", [send, fork, create, make_key])
def test_the_same_id_has_one_effect_for_as_long_as_promised_and_then_a_new_one(said, owner, make):
    first = make(owner)
    age(MEMORY - timedelta(minutes=1))
    assert not forget_client_ids()
    assert make(owner) == first

    age(MEMORY + timedelta(minutes=1))
    assert not forget_client_ids()
    second = make(owner)
    assert second != first
    assert not forget_client_ids()
    assert make(owner) == second


def test_nothing_else_of_the_rows_changes(said, owner):
    for make in (send, fork, create, make_key):
        make(owner)
    age(MEMORY * 2)
    before = {model: list(model.objects.order_by("pk").values()) for model in REMEMBERING}
    assert all(any(row["client_id"] for row in rows) for rows in before.values())
    forget_client_ids()
    for model, rows in before.items():
        assert list(model.objects.order_by("pk").values()) == [row | {"client_id": None} for row in rows]


@pytest.mark.django_db(transaction=True)
async def test_nobody_is_woken(owner):
    await in_thread(_old_rows, owner)
    rings = []
    ends = [doorbell.listen(topic, rings.append) for topic in ("reply", "waiting", "chat")]
    await in_thread(forget_client_ids)
    await asyncio.sleep(0)  # what was rung from the other thread is delivered now
    for end in ends:
        end()
    assert not await in_thread(Reply.objects.filter(client_id__isnull=False).exists)
    # A server of this process may still be saying what another test has left to it.
    ids = await in_thread(
        lambda: {str(pk) for model in (Chat, Reply) for pk in model.objects.values_list("pk", flat=True)}
    )
    assert not ids.intersection(rings)


def _old_rows(owner, count=1):
    chat = Chat.objects.create(user=owner, client_id="fork", created_at=timezone.now() - MEMORY * 2)
    Reply.objects.bulk_create(
        Reply(chat=chat, user=owner, status="completed", client_id=str(n), created_at=timezone.now() - MEMORY * 2)
        for n in range(count)
    )


def test_they_are_forgotten_in_batches(owner, monkeypatch):
    monkeypatch.setattr(once, "FORGOTTEN_AT_ONCE", 2)
    _old_rows(owner, count=5)
    if not the_settings.IS_SQLITE:
        _plan_nested_loops()
    left = []
    while forget_client_ids():
        left.append(Reply.objects.filter(client_id__isnull=False).count())
    assert left == [3, 1]
    assert not Reply.objects.filter(client_id__isnull=False).exists()
    assert not Chat.objects.filter(client_id__isnull=False).exists()


def _plan_nested_loops():
    """Let PostgreSQL plan as it does over some statistics: what is selected for an update is asked once a row."""
    with connection.cursor() as cursor:
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            cursor.execute(f"SET LOCAL enable_{way} = off")


@pytest.mark.skipif(the_settings.IS_SQLITE, reason="SQLite has one writer, and so nobody to wait for")
@pytest.mark.django_db(transaction=True)
async def test_a_row_that_is_in_use_has_time_until_the_next_sweep(owner):
    await in_thread(_old_rows, owner)
    held, done = threading.Event(), threading.Event()
    holding = asyncio.create_task(in_thread(_hold_chat, held, done))
    await in_thread(held.wait, 10)
    await in_thread(forget_client_ids)
    ids = await in_thread(lambda: [list(model.objects.values_list("client_id", flat=True)) for model in (Chat, Reply)])
    done.set()
    await holding
    assert ids == [["fork"], [None]]
    await in_thread(forget_client_ids)
    assert not await in_thread(Chat.objects.filter(client_id__isnull=False).exists)


def _hold_chat(held, done):
    with transaction.atomic():
        Chat.objects.select_for_update().get()
        held.set()
        done.wait(10)


@pytest.mark.parametrize("model", REMEMBERING)
def test_forgetting_looks_at_no_row_that_has_no_client_id(db, model):
    if not the_settings.IS_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # of a table this small it reads all, whatever there is
    old = model.objects.filter(client_id__isnull=False, created_at__lt=timezone.now()).order_by("created_at")
    assert f"{model._meta.model_name}_client_id_created_at" in old.explain()


def test_all_that_takes_a_client_id_forgets_it():
    remembering = {model for model in apps.get_models() if "client_id" in {field.name for field in model._meta.fields}}
    assert remembering == set(REMEMBERING) >= {ApiKey}
