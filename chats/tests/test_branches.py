"""Moving in the tree of a chat, cutting a branch off, and taking one into a chat of its own."""

import time
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chats import branches, services
from chats.errors import Conflict, Invalid, NotFound
from chats.models import Chat, Message, Reply

LONG = 5_000


@pytest.fixture
def chat(owner):
    return services.create_chat(owner, title="Plans", tags=["b", "a"], space="work", notebooks=["roadmap"])


@pytest.fixture
def say(chat):
    """`say("a b", after=message)`: messages below it, or at the end of the branch in view; returns them."""

    def write(contents, *, after=None):
        made = []
        for content in contents.split():
            after = services.append_message(chat, role="user", content=content, parent=after)
            made.append(after)
        return made

    return write


def go_to(chat, message):
    services.update_chat(chat, current_leaf=message.pk)


def texts(chat):
    chat.refresh_from_db()
    return " ".join(message.content for message in Message.objects.path_to(chat.current_leaf_id))


def grow(chat, length):
    """A long chat, one message below the other."""
    messages = [Message(chat=chat, role=Message.Role.USER, content=f"Message {number}") for number in range(length)]
    for above, below in pairwise(messages):
        below.parent = above
    Message.objects.bulk_create(messages)
    services.update_chat(chat, current_leaf=messages[-1].pk)
    return messages


# ---------------------------------------------------------------- moving
def test_a_branch_never_seen_is_entered_to_its_newest_end(chat, say):
    top, *_ = say("top a1 a2")
    b1, b2 = say("b1 b2", after=top)
    say("b3", after=b1)
    go_to(chat, top)
    assert texts(chat) == "top b1 b3"
    go_to(chat, b2)
    assert texts(chat) == "top b1 b2"


def test_coming_back_to_a_branch_brings_the_end_one_left(chat, say):
    top, a1, a2 = say("top a1 a2")
    say("a3", after=a1)
    go_to(chat, a2)
    (b1,) = say("b1", after=top)
    assert texts(chat) == "top b1"
    go_to(chat, a1)
    assert texts(chat) == "top a1 a2", "a3 is newer, but a2 was in view"
    go_to(chat, b1)
    go_to(chat, top)
    assert texts(chat) == "top b1"


def test_what_is_said_later_in_a_branch_is_its_end_from_then_on(chat, say):
    top, a1, a2 = say("top a1 a2")
    say("a3", after=a1)
    go_to(chat, a2)
    say("a4")
    (b1,) = say("b1", after=top)
    go_to(chat, a1)
    assert texts(chat) == "top a1 a2 a4"
    go_to(chat, b1)
    assert texts(chat) == "top b1"


def test_a_message_of_another_chat_is_no_place_to_go(chat, say, owner):
    say("a")
    elsewhere = services.append_message(services.create_chat(owner), role="user", content="x")
    with pytest.raises(Invalid) as refused:
        go_to(chat, elsewhere)
    assert list(refused.value.fields) == ["current_leaf"]
    assert texts(chat) == "a"


def test_taking_a_message_out_keeps_the_branch_in_view_the_one_that_is_remembered(chat, say):
    top, a1, a2 = say("top a1 a2")
    (b1,) = say("b1", after=top)
    go_to(chat, a2)
    services.delete_message(a1)
    assert texts(chat) == "top a2"
    go_to(chat, b1)
    go_to(chat, top)
    assert texts(chat) == "top b1"
    go_to(chat, a2)
    go_to(chat, top)
    assert texts(chat) == "top a2"


def test_moving_takes_as_many_queries_in_a_long_chat_as_in_a_short_one(chat, django_assert_max_num_queries):
    first, *_ = grow(chat, 300)
    services.append_message(chat, role="user", content="x", parent=first)
    with django_assert_max_num_queries(10):
        go_to(chat, first)


# ---------------------------------------------------------------- deleting a branch
def test_a_branch_goes_with_all_below_it_and_its_neighbour_comes_into_view(chat, say):
    top, a1, _ = say("top a1 a2")
    (b1, _) = say("b1 b2", after=top)
    (c1,) = say("c1", after=top)
    go_to(chat, b1)
    assert branches.delete_branch(b1) == 2
    assert texts(chat) == "top a1 a2"
    assert branches.delete_branch(a1) == 2
    assert texts(chat) == "top c1", "without one before it, the one after it"
    assert branches.delete_branch(c1) == 1
    assert texts(chat) == "top"
    assert branches.delete_branch(top) == 1
    chat.refresh_from_db()
    assert chat.current_leaf_id is None
    assert not chat.messages.exists()


def test_deleting_elsewhere_leaves_the_view_alone(chat, say):
    top, a1, a2 = say("top a1 a2")
    say("b1 b2", after=top)
    branches.delete_branch(a1)
    assert texts(chat) == "top b1 b2"
    with pytest.raises(NotFound):
        branches.delete_branch(a2)


def test_replies_that_write_in_a_deleted_branch_are_stopped(chat, say, owner):
    top, a1 = say("top a1")
    answer = services.append_message(chat, role="assistant", content="", parent=a1)
    mine = Reply.objects.create(chat=chat, user=owner, prompt=a1, message=answer, status=Reply.Status.RUNNING)
    (b1,) = say("b1", after=top)
    other = Reply.objects.create(chat=chat, user=owner, prompt=b1, status=Reply.Status.RUNNING)
    branches.delete_branch(a1)
    mine.refresh_from_db()
    other.refresh_from_db()
    assert mine.stop_requested_at
    assert not other.stop_requested_at


def test_a_long_branch_is_deleted_in_a_bounded_number_of_queries(chat):
    first, second, *_ = grow(chat, LONG)
    with CaptureQueriesContext(connection) as queries:
        assert branches.delete_branch(second) == LONG - 1
    assert len(queries) < 100
    assert chat.messages.get() == first


# ---------------------------------------------------------------- forking
def test_a_fork_holds_a_copy_of_the_path_and_nothing_else(chat, say, owner, demo_model):
    services.update_chat(chat, model=demo_model, system_prompt="Be brief.", pinned=True, extra_data={"mine": 1})
    top, _ = say("top a1")
    rich = {
        "tool_calls": [{"id": "1"}],
        "tool_results": [{"ok": True}],
        "sources": [{"title": "x"}],
        "extra_data": {"a": 1},
    }
    answer = services.append_message(chat, role="assistant", content="Grüße 🎈", model=demo_model, **rich)
    Message.objects.filter(pk=answer.pk).update(reasoning="Hm.", attachments=[{"name": "a.txt"}])
    say("a2")
    say("b1", after=top)
    before = list(chat.messages.order_by("pk").values())

    fork, is_new = branches.fork_chat(owner, answer)
    assert is_new
    assert texts(fork) == "top a1 Grüße 🎈"
    path = Message.objects.path_to(fork.current_leaf_id)
    assert [message.parent_id for message in path] == [None, path[0].pk, path[1].pk]
    copied = ("role", "content", "reasoning", "attachments", "model", "created_at", *rich)
    assert fork.messages.filter(pk=path[-1].pk).values(*copied).get() == chat.messages.values(*copied).get(pk=answer.pk)
    assert (fork.title, fork.forked_from) == (f"{chat.title} (fork)", chat)
    same = ("space", "notebooks", "system_prompt", "model_id", "is_title_automatic")
    assert [getattr(fork, name) for name in same] == [getattr(Chat.objects.get(pk=chat.pk), name) for name in same]
    assert [tag.tag for tag in fork.tags.all()] == ["a", "b"]
    assert (fork.pinned, fork.extra_data, fork.replies.count()) == (False, {}, 0)
    assert list(chat.messages.order_by("pk").values()) == before
    services.delete_message(top)
    assert texts(fork) == "top a1 Grüße 🎈"


def test_a_fork_can_have_a_title_of_its_own(chat, say, owner):
    (message,) = say("a")
    fork, _ = branches.fork_chat(owner, message, title="Plan B")
    assert (fork.title, fork.is_title_automatic) == ("Plan B", False)
    with pytest.raises(Invalid):
        branches.fork_chat(owner, message, title="x" * 201)


def test_forks_are_told_apart_by_their_titles(chat, say, owner):
    (message,) = say("a")
    services.update_chat(chat, title="Plan")
    first, _ = branches.fork_chat(owner, message)
    second, _ = branches.fork_chat(owner, message)
    of_fork, _ = branches.fork_chat(owner, first.messages.get())
    assert [fork.title for fork in (first, second, of_fork)] == ["Plan (fork)", "Plan (fork 2)", "Plan (fork 3)"]
    services.update_chat(chat, title="x" * 200)
    titles = [branches.fork_chat(owner, message)[0].title for _ in range(2)]
    assert titles == ["x" * 193 + " (fork)", "x" * 191 + " (fork 2)"]
    services.update_chat(chat, title="")
    assert branches.fork_chat(owner, message)[0].title == ""


def test_a_fork_outlives_the_chat_it_was_taken_from(chat, say, owner):
    (message,) = say("a")
    fork, _ = branches.fork_chat(owner, message)
    chat.delete()
    fork.refresh_from_db()
    assert (fork.forked_from, texts(fork)) == (None, "a")


def test_the_same_client_id_makes_one_fork(chat, say, owner, stranger):
    first, second = say("a b")
    fork, is_new = branches.fork_chat(owner, first, client_id="once")
    assert is_new
    assert branches.fork_chat(owner, first, client_id="once") == (fork, False)
    for other in ({"message": second}, {"message": first, "title": "x"}):
        with pytest.raises(Conflict):
            branches.fork_chat(owner, client_id="once", **other)
    assert branches.fork_chat(stranger, first, client_id="once")[1], "an id belongs to its person"
    services.delete_chat(fork)
    with pytest.raises(NotFound):
        branches.fork_chat(owner, first, client_id="once")
    for unusable in ("", "x" * 65, "nul\0"):
        with pytest.raises(Invalid):
            branches.fork_chat(owner, first, client_id=unusable)


def test_a_long_chat_is_forked_in_a_bounded_number_of_queries(chat, owner):
    *_, last = grow(chat, LONG)
    started = time.monotonic()
    with CaptureQueriesContext(connection) as queries:
        fork, _ = branches.fork_chat(owner, last)
    assert len(queries) < 30
    assert time.monotonic() - started < 10, "measured: under a second"
    assert fork.messages.count() == LONG
    assert texts(fork) == texts(chat)
