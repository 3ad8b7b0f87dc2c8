"""Chats to look at, made through the verbs."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat, Message, Reply
from chats.replies.services import StartedReply, start_reply
from chats.services import append_message, create_chat
from config.tests.live import LiveServer


@pytest.fixture
def visitor(owner: User, client_of: Callable[[User], Client]) -> Client:
    """The owner's browser."""
    return client_of(owner)


@pytest.fixture
def chat(owner: User) -> Chat:
    """Two messages: a question and its answer."""
    chat = create_chat(owner, title="Tides")
    append_message(chat, role="user", content="Why are there <b>tides</b>?")
    append_message(chat, role="assistant", content="Because of the *Moon*.")
    chat.refresh_from_db()
    return chat


@pytest.fixture
def started(owner: User, demo_model: AIModel) -> StartedReply:
    """A question whose answer is still to be written: no engine runs in these tests."""
    return start_reply(owner, content="Why is the sky blue?")


@pytest.fixture
def ended(started: StartedReply) -> Callable[..., StartedReply]:
    """`ended(status, content=..., ...)`: the same answer, over. Written here because the engine has no verb for it."""

    def make(status: str, *, content: str = "", **fields: str) -> StartedReply:
        Message.objects.filter(pk=started.answer.pk).update(content=content)
        Reply.objects.filter(pk=started.reply.pk).update(status=status, finished_at=timezone.now(), **fields)
        return started

    return make


@pytest.fixture
def many_chats(owner: User) -> list[Chat]:
    """Seventy chats, the first one the newest, one every ten hours."""
    now = timezone.now()
    return Chat.objects.bulk_create(
        [
            Chat(user=owner, title=f"Chat number {number}", updated_at=now - timedelta(hours=10 * number))
            for number in range(70)
        ]
    )


@pytest.fixture
def signed_in(page: Page, log_in: Callable[[User], None], owner: User) -> Page:
    log_in(owner)
    return page


@pytest.fixture
def plain(signed_in: Page, live: LiveServer) -> Iterator[Page]:
    """The owner's browser, with JavaScript switched off."""
    browser, state = signed_in.context.browser, signed_in.context.storage_state()
    context = browser.new_context(base_url=live.base_url, storage_state=state, java_script_enabled=False)
    yield context.new_page()
    context.close()
