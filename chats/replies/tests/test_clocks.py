"""Whether a worker is alive is told by the database's clock: those of nodes may differ, and be set at any time."""

from datetime import timedelta

import pytest
import time_machine
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from chats.models import Chat, Reply
from chats.replies import claims
from chats.services import append_message, create_chat


@pytest.fixture
def running(transactional_db, owner, openai_model) -> Reply:
    """A reply that another node runs, and has just been heard of."""
    chat: Chat = create_chat(owner)
    question = append_message(chat, role="user", content="Hi")
    answer = append_message(chat, role="assistant", content="So far")
    return Reply.objects.create(
        chat=chat,
        user=owner,
        prompt=question,
        message=answer,
        model=openai_model,
        status=Reply.Status.RUNNING,
        worker="another node",
        attempt=1,
        heartbeat_at=Now(),
    )


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_node_whose_clock_is_wrong_takes_nothing_from_a_worker_that_lives(running, hours):
    with time_machine.travel(timezone.now() + timedelta(hours=hours)):
        assert claims.unfinished_ids() == []
        assert claims.claim(running.pk, "mistaken") is None


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_node_whose_clock_is_wrong_takes_over_from_one_that_died(running, hours):
    silent = timedelta(seconds=settings.REPLY_STALE_SECONDS + 1)
    Reply.objects.filter(pk=running.pk).update(heartbeat_at=Now() - silent)
    with time_machine.travel(timezone.now() + timedelta(hours=hours)):
        assert claims.unfinished_ids() == [running.pk]
        job = claims.claim(running.pk, "successor")
    assert job is not None
    assert (job.reply.attempt, job.reply.worker) == (2, "successor")
    # It is heard of by the same clock, whatever its own says.
    assert claims.unfinished_ids() == []


def test_at_the_start_of_the_only_process_nobody_else_is_alive(running):
    claims.abandon_running()
    assert claims.unfinished_ids() == [running.pk]
