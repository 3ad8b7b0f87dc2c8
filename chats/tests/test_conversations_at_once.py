"""Many hands in one chat: nothing is lost, and what is left is one tree."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from chats import services
from chats.errors import NotFound
from chats.models import Message

pytestmark = pytest.mark.django_db(transaction=True)
HANDS = 6


@pytest.fixture
def chat(owner):
    return services.create_chat(owner)


def at_once(*verbs):
    """Each verb on a thread of its own, all at once; returns what they returned."""

    def call(verb):
        try:
            return verb()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(verbs)) as pool:
        return list(pool.map(call, verbs))


def branch(chat):
    chat.refresh_from_db()
    return Message.objects.path_to(chat.current_leaf_id)


def test_messages_appended_at_once_make_one_line(chat):
    def append():
        return [services.append_message(chat, role="user", content="x").pk for _ in range(3)]

    made = {pk for pks in at_once(*[append] * HANDS) for pk in pks}
    assert {message.pk for message in branch(chat)} == made
    assert len(made) == 3 * HANDS


def test_deleting_while_others_append_leaves_no_gap(chat):
    old = [services.append_message(chat, role="user", content="old") for _ in range(HANDS)]

    def append():
        services.append_message(chat, role="user", content="new")

    at_once(*[lambda message=message: services.delete_message(message) for message in old], *[append] * HANDS)
    assert [message.content for message in branch(chat)] == ["new"] * HANDS
    assert chat.messages.count() == HANDS


def test_a_message_is_deleted_once(chat):
    message = services.append_message(chat, role="user", content="x")

    def delete():
        try:
            services.delete_message(message)
        except NotFound:
            return 0
        return 1

    assert sum(at_once(*[delete] * HANDS)) == 1


def test_tags_written_at_once_are_those_of_one_writer(chat):
    sets = [[f"{number}a", f"{number}b"] for number in range(HANDS)]
    at_once(*[lambda tags=tags: services.update_chat(chat, tags=tags) for tags in sets])
    assert [tag.tag for tag in chat.tags.all()] in sets
