"""In a real Chromium: an answer of more than one event shows whole, whenever the page comes to it."""

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Message
from chats.replies import log
from chats.replies.services import StartedReply, start_reply
from config.tests.live import wait_until

pytestmark = pytest.mark.browser

TEXT = "".join(f"{n:06} words\n" for n in range(23_100))  # 300 kB
THOUGHT = "Hm. " * 5_000
WORDS = "".join(TEXT.split())


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def started(
    owner: User,
    openai_model: AIModel,
    fake_provider: FakeProvider,
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> StartedReply:
    """An answer that has got to its last words. Who does not come in time gets a snapshot, which has 30 parts here."""
    monkeypatch.setattr(log, "REPLAY_MAX_EVENTS", 2)
    chunks = [TEXT[:150_000], TEXT[150_000:], "The end."]
    fake_provider.script("fake-1", Script(reasoning=[THOUGHT], chunks=chunks, gate=gate, gate_after=2))
    return start_reply(owner, content="Go")


def wait_shown(page: Page) -> None:
    shown = "(document.querySelector('[data-text]')?.innerText ?? '').replace(/\\s+/g, '')"
    wait_until(lambda: page.evaluate(shown) == WORDS, seconds=20, what="all that has come is shown")


def answer_as_at_the_start(route: Route) -> None:
    """The page as it was before the first word."""
    answer = route.fetch()
    page = re.sub(r'data-after="\d+"', 'data-after="0"', answer.text().replace(TEXT, ""))
    route.fulfill(response=answer, body=page)


def test_a_long_answer_is_whole_after_a_reload_in_mid_stream(
    signed_in: Page, started: StartedReply, gate: threading.Event
) -> None:
    page, address = signed_in, f"/chats/{started.chat.pk}/"
    page.goto(address)
    wait_shown(page)
    page.reload()
    wait_shown(page)

    # Nothing of it is in this page: the snapshot has to bring everything.
    page.route(f"**{address}", answer_as_at_the_start)
    page.reload()
    wait_shown(page)
    assert page.locator("[data-reasoning]").text_content() == THOUGHT

    gate.set()
    expect(page.locator("article.from-model:not([data-reply])")).to_contain_text("The end.")
    assert Message.objects.get(pk=started.answer.pk).content == f"{TEXT}The end."
    finished = page.locator("article.from-model .prose").inner_text()
    assert "".join(finished.split()).startswith(WORDS)
