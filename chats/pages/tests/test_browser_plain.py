"""What people without JavaScript do, in a real Chromium: pages are complete, a waiting one comes again by itself."""

import pytest
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from chats.catalog.models import AIModel
from chats.models import Chat
from chats.pages.tests.test_browser import FINISHED, PHONE
from chats.services import append_message, create_chat
from config.tests.live import wait_until

pytestmark = pytest.mark.browser

RELOADS_MILLISECONDS = 30_000


@pytest.fixture
def tides(owner: User, demo_model: AIModel) -> Chat:
    chat = create_chat(owner, title="Tides", model=demo_model)
    append_message(chat, role="user", content="Why are there tides?")
    append_message(chat, role="assistant", content="Because of the Moon.", model=demo_model)
    return chat


def test_a_page_at_a_message_comes_again_until_its_answer_is_there(plain: Page, tides: Chat) -> None:
    plain.goto(f"/chats/{tides.pk}/")
    plain.get_by_role("link", name="Edit this message").click()
    plain.get_by_label("Your message").fill("quote the Sun too")
    plain.get_by_role("button", name="Send").click()
    plain.wait_for_url("**/chats/*/#message-*")
    expect(plain.locator(FINISHED)).to_contain_text("the Sun too", timeout=RELOADS_MILLISECONDS)


def end_of(place: Locator) -> float:
    box = place.bounding_box()
    return box["x"] + box["width"] if box else 0


@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE])
def test_stop_stands_at_the_end_of_the_composer(plain: Page, tides: Chat, size) -> None:
    plain.set_viewport_size(size)
    plain.goto(f"/chats/{tides.pk}/")
    plain.get_by_label("Message", exact=True).fill("long answer")
    plain.get_by_role("button", name="Send", exact=True).click()
    button, foot = plain.get_by_role("button", name="Stop the answer"), plain.locator(".composer-foot")
    expect(button).to_be_visible()
    # The page may come again between the two looks.
    wait_until(lambda: 0 < end_of(foot) - end_of(button) < 12, seconds=10, what="it stands at the end")
    button.click()
    expect(plain.get_by_text("You stopped this answer.")).to_be_visible(timeout=RELOADS_MILLISECONDS)


def test_a_question_whose_answer_was_deleted_is_answered(plain: Page, tides: Chat) -> None:
    plain.goto(f"/chats/{tides.pk}/")
    plain.locator("summary[aria-label='More for this answer']").click()
    plain.get_by_role("link", name="Delete from here on").click()
    plain.get_by_role("button", name="Delete 1 message").click()
    plain.get_by_role("button", name="Answer", exact=True).click()
    expect(plain.locator(FINISHED)).to_contain_text("Why are there tides?", timeout=RELOADS_MILLISECONDS)
    assert tides.messages.count() == 2
