"""In a real Chromium: whoever watches an answer hears at once that another model writes it."""

import threading

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.catalog.services import set_fallback
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.replies.services import start_reply
from config.tests.live import LiveServer

pytestmark = pytest.mark.browser

NOTICE = "Fake model did not answer; Second answered instead."


def test_the_line_comes_while_the_answer_grows_and_stays(
    signed_in: Page, live: LiveServer, owner: User, openai_model: AIModel, fake_provider: FakeProvider
) -> None:
    second = AIModel.objects.create(provider=openai_model.provider, name="Second", model_id="fake-2", enabled=True)
    set_fallback(openai_model, second)
    fails, goes_on = threading.Event(), threading.Event()
    fake_provider.script("fake-1", Script(status=401, body={}, gate=fails))
    fake_provider.script("fake-2", Script(text="one two three", gate=goes_on, gate_after=1))
    started = start_reply(owner, content="Hello")
    page = signed_in
    page.goto(f"/chats/{started.chat.pk}/")
    answer = page.locator("article.from-model")
    line = answer.locator("[data-notice]")
    expect(answer.locator("[data-working-label]")).to_contain_text(" s")  # the script watches
    expect(line).to_be_hidden()

    fails.set()
    expect(line).to_have_text(NOTICE)
    expect(answer.locator("[data-text]")).to_have_text("one")
    goes_on.set()
    expect(answer.locator(".prose")).to_have_text("one two three")
    expect(page.locator("article.from-model:not([data-reply])")).to_be_visible()
    expect(line).to_have_text(NOTICE)
    expect(answer.locator(".author")).to_have_text("Second")
