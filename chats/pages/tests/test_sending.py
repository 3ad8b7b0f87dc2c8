"""Sending, retrying and stopping, with a script and without."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat, Message, Reply
from chats.replies.services import StartedReply

HX = {"HX-Request": "true"}


def test_without_a_script_a_first_message_makes_a_chat_and_shows_it(
    visitor: Client, owner: User, demo_model: AIModel
) -> None:
    response = visitor.post(reverse("pages:send_new"), {"content": "Hello\r\nthere", "model": str(demo_model.pk)})
    chat = Chat.objects.get(user=owner)
    assert (response.status_code, response.url) == (302, reverse("pages:chat", args=[chat.pk]))
    assert Message.objects.get(role="user").content == "Hello\nthere"
    assert Reply.objects.get().status == "queued"


def test_a_script_gets_both_messages_and_the_address(visitor: Client, demo_model: AIModel) -> None:
    response = visitor.post(reverse("pages:send_new"), {"content": "Hello"}, headers=HX)
    page = response.content.decode()
    assert response.headers["HX-Push-Url"] == reverse("pages:chat", args=[Chat.objects.get().pk])
    assert page.count("data-message=") == 2
    assert f'data-reply="{Reply.objects.get().pk}"' in page


def test_a_second_message_goes_on_below_the_first(visitor: Client, chat: Chat, demo_model: AIModel) -> None:
    visitor.post(reverse("pages:send", args=[chat.pk]), {"content": "And the Sun?"})
    sent = Message.objects.get(content="And the Sun?")
    assert sent.parent_id == chat.current_leaf_id


def test_the_same_form_sent_twice_has_one_effect(visitor: Client, demo_model: AIModel) -> None:
    form = {"content": "Hello", "client_id": "one", "model": str(demo_model.pk)}
    first = visitor.post(reverse("pages:send_new"), form, headers=HX)
    second = visitor.post(reverse("pages:send_new"), form, headers=HX)
    assert first.headers["HX-Push-Url"] == second.headers["HX-Push-Url"]
    assert Message.objects.filter(role="user").count() == 1


@pytest.mark.parametrize("content", ["", "   ", "\r\n"])
def test_an_empty_message_is_refused_in_a_sentence(visitor: Client, demo_model: AIModel, content: str) -> None:
    response = visitor.post(reverse("pages:send_new"), {"content": content}, headers=HX)
    assert (response.status_code, response.content.decode()) == (400, "Write something first.")
    assert response.headers["Content-Type"].startswith("text/plain")


def test_a_refused_text_stays_in_the_box(visitor: Client, chat: Chat, demo_model: AIModel, settings: Settings) -> None:
    settings.MESSAGE_MAX_BYTES = 10
    response = visitor.post(reverse("pages:send", args=[chat.pk]), {"content": "Far <too> long a text"})
    page = response.content.decode()
    assert response.status_code == 413
    assert "Far &lt;too&gt; long a text</textarea>" in page
    assert "at most 10 are allowed" in page


def test_an_unknown_model_is_refused_and_the_text_kept(visitor: Client, demo_model: AIModel) -> None:
    response = visitor.post(reverse("pages:send_new"), {"content": "Keep me", "model": "no-such-model"})
    assert response.status_code == 400
    assert "Keep me</textarea>" in response.content.decode()
    assert "Model not available" in response.content.decode()


def test_too_many_sends_are_told_when_to_come_back(visitor: Client, demo_model: AIModel, settings: Settings) -> None:
    settings.SENDS_PER_MINUTE_PER_USER = 1
    visitor.post(reverse("pages:send_new"), {"content": "one"}, headers=HX)
    response = visitor.post(reverse("pages:send_new"), {"content": "two"}, headers=HX)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0


def test_stop_asks_the_engine_and_shows_the_chat(visitor: Client, started: StartedReply) -> None:
    address = reverse("pages:stop", args=[started.reply.pk])
    response = visitor.post(address)
    assert (response.status_code, response.url) == (302, reverse("pages:chat", args=[started.chat.pk]))
    started.reply.refresh_from_db()
    assert started.reply.stop_requested_at is not None
    assert visitor.post(address, headers=HX).status_code == 204


def test_retry_answers_the_same_message_again(visitor: Client, ended: Callable[..., StartedReply]) -> None:
    answer = ended("failed")
    address = reverse("pages:retry", args=[answer.reply.pk])
    response = visitor.post(address, {"client_id": "again"})
    assert response.url == reverse("pages:chat", args=[answer.chat.pk])
    fragment = visitor.post(address, {"client_id": "again"}, headers=HX).content.decode()
    assert Reply.objects.filter(prompt=answer.message).count() == 2
    assert fragment.count("data-message=") == 1
    assert "data-reply=" in fragment


def test_what_still_runs_is_not_retried(visitor: Client, started: StartedReply) -> None:
    response = visitor.post(reverse("pages:retry", args=[started.reply.pk]))
    assert response.status_code == 409
    assert "Stop it first" in response.content.decode()


def test_forms_need_their_token(owner: User, demo_model: AIModel) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    response = client.post(reverse("pages:send_new"), {"content": "forged"})
    assert response.status_code == 403
    assert "This form has grown old" in response.content.decode()
    assert not Chat.objects.exists()
