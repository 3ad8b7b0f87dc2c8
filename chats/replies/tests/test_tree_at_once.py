"""Two tabs and two programs doing different things in one chat at once: nothing is lost, and it stays one tree."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import connection

from chats import branches, services
from chats.errors import DomainError, NotFound
from chats.models import Chat, Message, Reply
from chats.replies.services import continue_reply, edit_message, regenerate_message, start_reply
from config.tests.live import wait_until

HANDS = 4
STEPS_OF_A_HAND = 15
END_SECONDS = 30


class Hand:
    """One tab: does at random whatever one can do, and counts the messages it made and deleted."""

    def __init__(self, chat, owner, unfinished, seed):
        self.chat, self.owner, self.unfinished = chat, owner, unfinished
        self.random = random.Random(seed)
        self.made = self.deleted = 0

    def work(self):
        verbs = [
            *(self.send, self.append, self.edit, self.regenerate, self.go_on, self.move, self.move, self.fork),
            *(self.take_out, self.cut_off),
        ]
        try:
            for _ in range(STEPS_OF_A_HAND):
                # What it meant to touch may be gone by then, or be written just now: then it is told so.
                with suppress(DomainError):
                    self.random.choice(verbs)()
        finally:
            connection.close()
        return self

    def any_message(self, **which):
        messages = list(self.chat.messages.filter(**which).order_by("created_at", "id"))
        if not messages:
            raise NotFound
        return self.random.choice(messages)

    def send(self):
        start_reply(self.owner, chat_id=self.chat.pk, content="send")
        self.made += 2

    def append(self):
        services.append_message(self.chat, role="assistant", content="append", parent=self.any_message())
        self.made += 1

    def edit(self):
        edit_message(self.owner, self.any_message(role="user"), content="edit")
        self.made += 2

    def regenerate(self):
        regenerate_message(self.owner, self.any_message(role="assistant"))
        self.made += 1

    def go_on(self):
        continue_reply(self.unfinished)
        self.made += 1

    def move(self):
        services.update_chat(self.chat, current_leaf=self.any_message().pk)

    def fork(self):
        branches.fork_chat(self.owner, self.any_message())

    def take_out(self):
        services.delete_message(self.any_message())
        self.deleted += 1

    def cut_off(self):
        self.deleted += branches.delete_branch(self.any_message())


def nothing_runs():
    return not Reply.objects.unfinished().exists()


def check_tree(chat):
    """Every parent and every remembered child is in the same chat, every message hangs below a first one."""
    rows = list(chat.messages.values_list("pk", "parent", "chosen_child"))
    parents = {pk: parent for pk, parent, _ in rows}
    for pk, parent, chosen in rows:
        assert parent is None or parent in parents
        assert chosen is None or parents[chosen] == pk
        above, steps = parent, 0
        while above is not None:
            above, steps = parents[above], steps + 1
            assert steps <= len(parents), "a message is above itself"
    assert chat.current_leaf_id is None or chat.current_leaf_id in parents


@pytest.mark.parametrize("seed", range(3))
def test_hands_that_do_different_things_at_once_leave_one_tree_and_lose_nothing(
    live, owner, openai_model, settings, seed
):
    settings.SENDS_PER_MINUTE_PER_USER = settings.RUNNING_REPLIES_PER_USER = 100_000
    chat = services.create_chat(owner)
    first = start_reply(owner, chat_id=chat.pk, content="first", model="fake-1")
    wait_until(nothing_runs, seconds=END_SECONDS, what="the first answer is there")
    Reply.objects.filter(pk=first.reply.pk).update(status=Reply.Status.STOPPED)
    unfinished = Reply.objects.select_related("user", "chat").get(pk=first.reply.pk)
    for _ in range(5):
        services.append_message(chat, role="assistant", content="old")
    chat.refresh_from_db()
    at_first = chat.messages.count()

    hands = [Hand(chat, owner, unfinished, seed * HANDS + number) for number in range(HANDS)]
    with ThreadPoolExecutor(HANDS) as pool:
        done = list(pool.map(Hand.work, hands))
    wait_until(nothing_runs, seconds=END_SECONDS, what="every reply has ended")

    chat.refresh_from_db()
    assert chat.messages.count() == at_first + sum(hand.made - hand.deleted for hand in done)
    for any_chat in Chat.objects.all():
        check_tree(any_chat)
    for answer in Message.objects.filter(reply__isnull=False).select_related("reply"):
        assert answer.reply.message_id == answer.pk
