import asyncio
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from chats import doorbell, services
from chats.errors import Invalid, NotFound, ReplyRunning, TooLarge
from chats.models import Chat, Message, Reply


@pytest.fixture
def chat(owner):
    return services.create_chat(owner, title="Plans", tags=["b", "a"])


@pytest.fixture
def rung():
    """`rung()`: every ring of the doorbell so far, as a listener on an event loop hears it."""
    rings = []

    async def start():
        return [
            doorbell.listen("reply", lambda key: rings.append(("reply", key))),
            doorbell.listen("chat", lambda key: rings.append(("chat", key))),
        ]

    def heard():
        loop.run_until_complete(asyncio.sleep(0))
        return rings

    loop = asyncio.new_event_loop()
    ends = loop.run_until_complete(start())
    yield heard
    for end in ends:
        end()
    loop.close()


def texts(chat):
    chat.refresh_from_db()
    return [message.content for message in Message.objects.path_to(chat.current_leaf_id)]


def say(chat, *contents):
    return [services.append_message(chat, role="user", content=content) for content in contents]


def running_reply(chat, prompt):
    answer = services.append_message(chat, role="assistant", content="", parent=prompt)
    reply = Reply.objects.create(chat=chat, user=chat.user, prompt=prompt, message=answer, status=Reply.Status.RUNNING)
    Message.objects.filter(pk=answer.pk).update(reply=reply)
    return reply, answer


def test_a_new_chat_has_clean_values_and_defaults(owner):
    chat = services.create_chat(owner, title=" a\nb\x00\ud800 ", tags=["x", " x ", "", "y"], space="")
    chat.refresh_from_db()
    assert (chat.title, chat.space, chat.is_title_automatic) == ("a b\ufffd\ufffd", "default", False)
    assert [tag.tag for tag in chat.tags.all()] == ["x", "y"]


def test_a_chat_without_a_title_is_still_to_be_named(owner):
    assert services.create_chat(owner).is_title_automatic


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "x" * 201),
        ("space", "x" * 101),
        ("tags", ["x" * 101]),
        ("tags", [str(n) for n in range(51)]),
        ("notebooks", ["x" * 201]),
        ("notebooks", [str(n) for n in range(101)]),
        ("extra_data", {"x": "y" * 16_000}),
        ("extra_data", {"x": 2**63}),
        ("extra_data", {"x": 1e300}),
        ("extra_data", {"x": float("nan")}),
    ],
)
def test_a_field_beyond_its_limit_is_refused_by_name(chat, field, value):
    with pytest.raises(Invalid) as refused:
        services.update_chat(chat, **{field: value})
    assert list(refused.value.fields) == [field]


def test_json_nested_too_deep_is_refused(owner):
    nested = {}
    for _ in range(40):
        nested = {"x": nested}
    with pytest.raises(Invalid):
        services.create_chat(owner, extra_data=nested)


def test_json_is_cleaned_at_any_depth(owner):
    chat = services.create_chat(owner, extra_data={"a\x00": [{"b": "\ud800"}, 1, None, 1.5, True]})
    chat.refresh_from_db()
    assert chat.extra_data == {"a\ufffd": [{"b": "\ufffd"}, 1, None, 1.5, True]}


def test_an_update_writes_only_what_it_names_and_keeps_the_place_in_the_list(chat):
    before = Chat.objects.get(pk=chat.pk)
    services.update_chat(chat, title="Other", tags=["b", "c"], pinned=True)
    after = Chat.objects.get(pk=chat.pk)
    assert (after.title, after.pinned, after.space) == ("Other", True, before.space)
    assert [tag.tag for tag in after.tags.all()] == ["b", "c"]
    assert after.updated_at == before.updated_at


def test_an_unknown_field_is_a_mistake_of_the_caller(chat):
    with pytest.raises(KeyError):
        services.update_chat(chat, user=None)


def test_messages_follow_each_other_and_move_the_chat_up(chat):
    before = chat.updated_at
    first, second = say(chat, "one", "two")
    assert second.parent_id == first.pk
    assert second.is_imported
    assert texts(chat) == ["one", "two"]
    assert chat.updated_at > before


def test_a_parent_makes_a_branch(chat):
    first, _ = say(chat, "one", "two")
    services.append_message(chat, role="user", content="other", parent=first)
    assert texts(chat) == ["one", "other"]


def test_a_parent_of_another_chat_is_refused(chat, owner):
    elsewhere = services.create_chat(owner)
    (message,) = say(elsewhere, "there")
    with pytest.raises(Invalid, match="not valid"):
        services.append_message(chat, role="user", content="here", parent=message)


def test_an_unknown_role_is_refused(chat):
    with pytest.raises(Invalid):
        services.append_message(chat, role="robot", content="x")


def test_text_over_the_limit_is_refused_by_its_bytes(chat, settings):
    settings.MESSAGE_MAX_BYTES = 10
    services.append_message(chat, role="user", content="x" * 10)
    with pytest.raises(TooLarge, match="11 bytes"):
        services.append_message(chat, role="user", content="x" * 9 + "é")


def test_a_message_changes_in_place(chat):
    (message,) = say(chat, "one")
    services.change_message(message, content="uno", sources=[{"title": "x"}])
    after = Message.objects.get(pk=message.pk)
    assert (after.content, after.sources) == ("uno", [{"title": "x"}])
    assert after.updated_at > after.created_at


def test_a_message_being_written_can_not_be_changed(chat):
    (prompt,) = say(chat, "one")
    reply, answer = running_reply(chat, prompt)
    with pytest.raises(ReplyRunning):
        services.change_message(answer, content="mine")
    Reply.objects.filter(pk=reply.pk).update(status=Reply.Status.COMPLETED)
    services.change_message(answer, content="mine")


def test_what_followed_a_deleted_message_moves_up(chat):
    _, second, _ = say(chat, "one", "two", "three")
    services.delete_message(second)
    assert texts(chat) == ["one", "three"]


def test_deleting_the_last_message_makes_the_one_before_it_the_last(chat):
    _, second = say(chat, "one", "two")
    services.delete_message(second)
    assert texts(chat) == ["one"]


def test_deleting_the_only_message_leaves_an_empty_chat(chat):
    (message,) = say(chat, "one")
    services.delete_message(message)
    assert texts(chat) == []
    with pytest.raises(NotFound):
        services.delete_message(message)


@pytest.mark.parametrize("which", ["prompt", "answer"])
def test_deleting_a_message_ends_the_reply_that_writes_or_answers_it(
    chat, which, rung, django_capture_on_commit_callbacks
):
    (prompt,) = say(chat, "one")
    reply, answer = running_reply(chat, prompt)
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_message({"prompt": prompt, "answer": answer}[which])
    reply.refresh_from_db()
    assert reply.stop_requested_at is not None
    assert ("reply", str(reply.pk)) in rung()


def test_deleting_a_chat_hides_it_and_ends_its_replies(chat, rung, django_capture_on_commit_callbacks):
    (prompt,) = say(chat, "one")
    reply, _ = running_reply(chat, prompt)
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_chat(chat)
    assert not Chat.objects.visible_to(chat.user).exists()
    reply.refresh_from_db()
    assert reply.stop_requested_at is not None
    assert rung() == [("reply", str(reply.pk)), ("chat", str(chat.pk))]


@pytest.mark.parametrize(
    "verb",
    [
        lambda chat, _: services.update_chat(chat, title="x"),
        lambda chat, _: services.delete_chat(chat),
        lambda chat, _: say(chat, "x"),
        lambda _, message: services.change_message(message, content="x"),
        lambda _, message: services.delete_message(message),
    ],
)
def test_a_deleted_chat_takes_nothing_more(chat, verb):
    (message,) = say(chat, "one")
    services.delete_chat(chat)
    with pytest.raises(NotFound):
        verb(chat, message)


def test_a_deleted_chat_comes_back_within_the_undo_window(chat, settings):
    services.delete_chat(chat)
    restored = services.restore_chat(chat.user, chat.pk)
    assert restored.deleted_at is None
    assert services.restore_chat(chat.user, chat.pk).pk == chat.pk
    services.delete_chat(chat)
    later = timezone.now() + timedelta(seconds=settings.CHAT_UNDO_SECONDS + 1)
    with time_machine.travel(later), pytest.raises(NotFound):
        services.restore_chat(chat.user, chat.pk)


def test_a_stranger_can_not_bring_a_chat_back(chat, stranger):
    services.delete_chat(chat)
    with pytest.raises(NotFound):
        services.restore_chat(stranger, chat.pk)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  What is\n a leap   second? ", "What is a leap second?"),
        ("word " * 30, " ".join(["word"] * 12) + "…"),
        ("x" * 100, "x" * 59 + "…"),
        ("", ""),
    ],
)
def test_a_title_is_the_first_words_on_one_line(text, title):
    assert services.title_from(text) == title
    assert len(services.title_from(text)) <= 60


def test_every_change_is_announced_once_it_is_committed(owner, rung, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        chat = services.create_chat(owner)
        services.update_chat(chat, title="x")
        (message,) = say(chat, "one")
        services.change_message(message, content="two")
        services.delete_message(message)
        services.delete_chat(chat)
        services.restore_chat(owner, chat.pk)
        assert rung() == []
    assert rung() == [("chat", str(chat.pk))] * 7
