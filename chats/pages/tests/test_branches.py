"""Branches on the page, as forms without a script and as fragments for one."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.branches import delete_branch
from chats.catalog.models import AIModel
from chats.models import Chat, Message, Reply
from chats.pages.tests.test_chat_page import HX, long_chat, url_of
from chats.services import append_message, create_chat, delete_chat, update_chat


def address(name: str, message: Message) -> str:
    return reverse(f"pages:{name}", args=[message.pk])


def shown(page: str) -> list[str]:
    return re.findall(r'id="message-([0-9a-f-]+)"', page)


@pytest.fixture
def versions(owner: User, demo_model: AIModel) -> tuple[Chat, Message, list[Message]]:
    """A question with two answers, the second in view."""
    chat = create_chat(owner, title="Tides", model=demo_model)
    question = append_message(chat, role="user", content="Why?")
    answers = [append_message(chat, role="assistant", content=text, parent=question) for text in ("One.", "Two.")]
    chat.refresh_from_db()
    return chat, question, answers


def test_a_message_says_which_of_its_versions_it_is(visitor: Client, versions) -> None:
    chat, question, (first, second) = versions
    page = visitor.get(url_of(chat)).content.decode()
    assert "2 of 2" in page
    assert shown(page) == [str(question.pk), str(second.pk)]
    assert page.count("data-siblings") == 1, "what has one version does not count it"
    assert address("show", first) in page


def test_going_to_a_version_leads_back_to_the_chat_or_brings_the_branch(visitor: Client, versions) -> None:
    chat, question, (first, second) = versions
    response = visitor.post(address("show", first))
    assert (response.status_code, response.url) == (302, f"{url_of(chat)}#message-{first.pk}")
    fragment = visitor.post(address("show", second), headers=HX).content.decode()
    assert shown(fragment) == [str(question.pk), str(second.pk)]
    assert "<html" not in fragment


def test_a_version_far_up_is_shown_in_the_middle_of_a_page(visitor: Client, owner: User) -> None:
    chat = long_chat(owner, 100)
    path = Message.objects.path_to(chat.current_leaf_id)
    append_message(chat, role="user", content="Another.", parent=path[9])
    response = visitor.post(address("show", path[10]))
    assert response.url == f"{url_of(chat)}?before={path[30].pk}#message-{path[10].pk}"
    assert str(path[10].pk) in shown(visitor.get(response.url).content.decode())
    assert visitor.post(address("show", path[10]), headers=HX).headers["HX-Redirect"] == response.url


@pytest.mark.parametrize("headers", [{}, HX])
def test_a_message_is_edited_in_a_box_that_holds_it(visitor: Client, versions, headers) -> None:
    chat, question, _ = versions
    box = visitor.get(address("edit", question), headers=headers).content.decode()
    assert "Why?</textarea>" in box
    assert ("<html" in box) == (not headers)
    body = {"content": "Why\r\nnow?", "client_id": "a"}
    response = visitor.post(address("edit", question), body, headers=headers)
    edited = Message.objects.get(content="Why\nnow?")
    assert edited.parent_id is None
    if headers:
        assert str(edited.pk) in shown(response.content.decode())
    else:
        assert response.url.startswith(f"{url_of(chat)}#message-")
    visitor.post(address("edit", question), body, headers=headers)
    assert Message.objects.filter(content="Why\nnow?").count() == 1


def test_a_refused_edit_keeps_what_was_written(visitor: Client, versions) -> None:
    _, question, _ = versions
    AIModel.objects.update(enabled=False)
    response = visitor.post(address("edit", question), {"content": "Keep me"})
    assert response.status_code == 400
    assert "Keep me</textarea>" in response.content.decode()
    assert visitor.post(address("edit", question), {"content": "x"}, headers=HX).status_code == 400


def test_another_model_answers_again(visitor: Client, versions, demo_model: AIModel) -> None:
    _, question, (_, second) = versions
    assert f'<option value="{demo_model.pk}" selected>' in visitor.get(address("again", second)).content.decode()
    response = visitor.post(address("again", second), {"model": str(demo_model.pk)}, headers=HX)
    assert "3 of 3" in response.content.decode()
    assert question.children.count() == 3


def test_an_answer_without_a_reply_of_this_server_is_given_again(visitor: Client, versions) -> None:
    chat, question, (first, second) = versions
    page = visitor.get(url_of(chat)).content.decode()
    assert page.count(f'action="{address("answer", second)}"') == 1
    assert address("answer", question) not in page
    assert visitor.post(address("answer", first)).url == url_of(chat)
    fragment = visitor.post(address("answer", second), {"client_id": "a"}, headers=HX).content.decode()
    made = question.children.last()
    assert shown(fragment) == [str(made.pk)]
    assert "4 of 4" in fragment


def test_a_question_without_an_answer_offers_one(visitor: Client, versions, demo_model: AIModel) -> None:
    chat, question, (first, second) = versions
    delete_branch(first)
    left = visitor.post(address("delete_branch", second), headers=HX).content.decode()
    for page in (left, visitor.get(url_of(chat)).content.decode()):
        assert "Nobody has answered this yet." in page
        assert f'action="{address("answer", question)}"' in page
    body = {"client_id": "a", "model": str(demo_model.pk)}
    fragment = visitor.post(address("answer", question), body, headers=HX).content.decode()
    assert "Nobody has answered" not in fragment
    made = question.children.get()
    assert shown(fragment) == [str(question.pk), str(made.pk)]
    assert visitor.post(address("answer", question), body).url == url_of(chat)
    assert question.children.count() == 1


def test_an_answer_that_broke_off_can_be_continued(visitor: Client, ended) -> None:
    started = ended(Reply.Status.INCOMPLETE, content="Because of Ray")
    address_of = reverse("pages:continue", args=[started.reply.pk])
    assert address_of in visitor.get(url_of(started.chat)).content.decode()
    response = visitor.post(address_of, {"client_id": "a"}, headers=HX)
    assert "Because of Ray" in response.content.decode()
    assert Reply.objects.get(continues=started.reply).kept_characters == len("Because of Ray")


@pytest.mark.parametrize(("status", "content"), [(Reply.Status.COMPLETED, "x"), (Reply.Status.STOPPED, "")])
def test_what_can_not_be_continued_does_not_offer_it(visitor: Client, ended, status, content) -> None:
    started = ended(status, content=content)
    assert "/continue/" not in visitor.get(url_of(started.chat)).content.decode()


def test_a_chat_is_forked_from_a_message(visitor: Client, versions, owner: User) -> None:
    chat, _, (first, _) = versions
    response = visitor.post(address("fork", first), {"client_id": "a"})
    fork = Chat.objects.exclude(pk=chat.pk).get()
    assert response.url == url_of(fork)
    again = visitor.post(address("fork", first), {"client_id": "a"}, headers=HX)
    assert again.headers["HX-Redirect"] == url_of(fork)
    assert f'Taken from <a href="{url_of(chat)}"' in visitor.get(url_of(fork)).content.decode()
    assert "Taken from" not in visitor.get(url_of(chat)).content.decode()
    delete_chat(chat)
    assert "Taken from" not in visitor.get(url_of(fork)).content.decode()


def test_deleting_a_branch_says_first_what_will_go(visitor: Client, versions) -> None:
    chat, question, (first, second) = versions
    assert "Nothing follows it" in visitor.get(address("delete_branch", second)).content.decode()
    warning = visitor.get(address("delete_branch", question), headers=HX).content.decode()
    assert "2 messages below it, in all their versions, will be" in warning, "one of them is in view"
    assert "Delete 3 messages" in warning
    fragment = visitor.post(address("delete_branch", second), headers=HX).content.decode()
    assert shown(fragment) == [str(question.pk), str(first.pk)]
    assert visitor.post(address("delete_branch", question)).url == url_of(chat)
    assert not chat.messages.exists()


def test_deleting_a_branch_counts_what_is_in_view_plainly(visitor: Client, chat: Chat) -> None:
    answer = Message.objects.get(pk=chat.current_leaf_id)
    page = visitor.get(address("delete_branch", answer.parent)).content.decode()
    assert "This message and the message below it will be gone for good." in page
    assert "Why are there &lt;b&gt;tides&lt;/b&gt;?" in page
    append_message(chat, role="user", content="And now?")
    page = visitor.get(address("delete_branch", answer.parent)).content.decode()
    assert "the 2 messages below it will be gone for good." in page


def test_what_goes_is_quoted_as_it_reads(visitor: Client, chat: Chat) -> None:
    text = "# Tides\n\n- the **Moon** & `<b>`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" + "word " * 100
    answer = append_message(chat, role="assistant", content=text)
    page = visitor.get(address("delete_branch", answer)).content.decode()
    quoted = re.search(r'<blockquote class="quoted" dir="auto">([^<]*)</blockquote>', page)
    assert quoted
    assert quoted[1].startswith("Tides the Moon &amp; &lt;b&gt; a b 1 2 word word")
    assert quoted[1].endswith("…")


def test_foreign_messages_are_missing(visitor: Client, stranger: User) -> None:
    foreign = append_message(create_chat(stranger), role="user", content="x")
    for name in ("show", "edit", "again", "fork", "delete_branch"):
        assert visitor.post(address(name, foreign)).status_code == 404
    assert Message.objects.count() == 1


def test_the_page_takes_as_many_queries_with_versions_as_without(
    visitor: Client, owner: User, demo_model: AIModel, django_assert_max_num_queries
) -> None:
    chat = long_chat(owner, 30)
    for message in Message.objects.path_to(chat.current_leaf_id)[1:]:
        append_message(chat, role="assistant", content="Another.", parent=message)
    update_chat(chat, current_leaf=chat.current_leaf_id)
    with django_assert_max_num_queries(20):
        assert visitor.get(url_of(chat)).content.decode().count("data-siblings") == 30 - 2
