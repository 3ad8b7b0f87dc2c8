"""Staff look at conversations: who, when and how much, never in a list what was said."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat, Message, Reply, ToolCall

PAYLOAD = "<script>alert('said')</script>"
TABLES = ["chat", "message", "reply", "toolcall"]


@pytest.fixture
def desk(superuser: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(superuser)


@pytest.fixture
def rows(owner: User, demo_model: AIModel) -> dict[str, Chat | Message | Reply | ToolCall]:
    """One chat of the owner, with a message, a reply, and a call of a tool."""
    chat = Chat.objects.create(user=owner, title=PAYLOAD, model=demo_model, extra_data={"x": PAYLOAD})
    message = Message.objects.create(chat=chat, role="user", content=PAYLOAD, sources=[{"title": PAYLOAD}])
    reply = Reply.objects.create(chat=chat, user=owner, prompt=message, model=demo_model, error_message=PAYLOAD)
    call = make_call(reply, arguments=PAYLOAD, output={"parts": [{"type": "text", "text": PAYLOAD}]})
    return {"chat": chat, "message": message, "reply": reply, "toolcall": call}


def make_call(reply: Reply, **fields: Any) -> ToolCall:
    known = {"step": 1, "index": 0, "call_id": "call1", "name": "wiki__find", "status": "done", "server_name": "Wiki"}
    return ToolCall.objects.create(reply=reply, **known | fields)


def list_url(table: str) -> str:
    return reverse(f"admin:chats_{table}_changelist")


def text(response: Any) -> str:
    return response.content.decode()


@pytest.mark.parametrize("table", TABLES)
def test_lists_name_the_owner_and_not_what_was_said(desk: Client, rows, owner: User, table: str) -> None:
    page = text(desk.get(list_url(table)))
    assert owner.email in page
    assert "said" not in page


def test_messages_are_listed_with_their_length(desk: Client, rows) -> None:
    assert f'<td class="field-characters">{len(PAYLOAD)}</td>' in text(desk.get(list_url("message")))


@pytest.mark.parametrize("table", TABLES)
def test_a_rows_own_page_shows_text_as_text_and_changes_nothing(desk: Client, rows, table: str) -> None:
    url = reverse(f"admin:chats_{table}_change", args=[rows[table].pk])
    page = text(desk.get(url))
    assert PAYLOAD not in page
    assert 'name="_save"' not in page
    assert desk.post(url, {}).status_code == 403
    assert desk.post(reverse(f"admin:chats_{table}_delete", args=[rows[table].pk]), {"post": "yes"}).status_code == 403
    assert desk.get(reverse(f"admin:chats_{table}_add")).status_code == 403


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_found_by_chat_id_and_by_owner(desk: Client, rows, stranger: User, table: str) -> None:
    other = Chat.objects.create(user=stranger)
    for found in (str(rows["chat"].pk), "owner@exam"):
        assert str(rows[table].pk) in text(desk.get(list_url(table), {"q": found}))
    for nothing in (str(other.pk), "said", "alert", "%", "0" * 31):
        assert str(rows[table].pk) not in text(desk.get(list_url(table), {"q": nothing}))


@pytest.mark.parametrize("table", TABLES)
def test_lists_take_the_same_queries_for_any_number_of_rows(
    desk: Client, rows, demo_model: AIModel, django_assert_num_queries, django_assert_max_num_queries, *, table: str
) -> None:
    with django_assert_max_num_queries(14) as few:
        desk.get(list_url(table))
    for n in range(5):
        user = User.objects.create_user(f"person{n}@example.org")
        chat = Chat.objects.create(user=user, model=demo_model)
        message = Message.objects.create(chat=chat, role="user", model=demo_model)
        reply = Reply.objects.create(chat=chat, user=user, prompt=message, model=demo_model)
        make_call(reply, decided_by=user)
    with django_assert_num_queries(len(few)):
        desk.get(list_url(table))


def test_calls_of_tools_are_an_audit(desk: Client, rows, owner: User, stranger: User) -> None:
    fields = {"status": "denied", "decision": "denied", "decided_by": stranger, "reason": "<b>No</b>", "index": 1}
    denied = make_call(rows["reply"], name="mail__send\u202e", **fields)
    page = text(desk.get(list_url("toolcall")))
    for words in ("wiki__find", "Wiki", "mail__send[U+202E]", owner.email, stranger.email, "&lt;b&gt;No&lt;/b&gt;"):
        assert words in page
    for query in ({"q": "mail__"}, {"q": "stranger@"}, {"status": "denied"}, {"decision": "denied"}):
        page = text(desk.get(list_url("toolcall"), query))
        assert str(denied.pk) in page
        assert str(rows["toolcall"].pk) not in page


def test_what_a_tool_answered_is_shown_up_to_a_length(desk: Client, rows) -> None:
    parts = [{"type": "text", "text": "x" * 30_000}, {"type": "image", "data": "y" * 9}, {"type": "link", "uri": "z"}]
    ToolCall.objects.update(output={"parts": parts}, arguments="")
    page = text(desk.get(reverse("admin:chats_toolcall_change", args=[rows["toolcall"].pk])))
    assert "… cut here" in page
    assert "x" * 20_001 not in page
    ToolCall.objects.update(output={"parts": parts[1:]})
    page = text(desk.get(reverse("admin:chats_toolcall_change", args=[rows["toolcall"].pk])))
    assert "[image]\n\nz" in page
    assert "yyyy" not in page


def test_staff_without_the_right_see_nothing(staff: User, client_of, rows) -> None:
    assert {client_of(staff).get(list_url(table)).status_code for table in TABLES} == {403}


def test_what_is_theirs_goes_with_a_person(desk: Client, rows, owner: User) -> None:
    url = reverse("admin:accounts_user_delete", args=[owner.pk])
    page = text(desk.get(url))
    assert "Chats: 1" in page
    assert "said" not in page
    assert "was deleted successfully" in text(desk.post(url, {"post": "yes"}, follow=True))
    assert not Chat.objects.exists()


@pytest.mark.parametrize("ask", ["get", "post"])
def test_a_used_model_stays_and_the_page_says_what_to_do(desk: Client, rows, demo_model: AIModel, ask: str) -> None:
    url = reverse("admin:catalog_aimodel_delete", args=[demo_model.pk])
    response = getattr(desk, ask)(url, {"post": "yes"}, follow=True)
    assert "Disable it instead" in text(response)
    assert AIModel.objects.filter(pk=demo_model.pk).exists()
