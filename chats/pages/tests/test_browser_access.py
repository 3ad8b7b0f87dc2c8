"""axe finds nothing on any page, in both themes, on both sizes."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from chats.branches import fork_chat
from chats.models import Chat, Message
from chats.services import append_message, create_chat

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor/axe-core-4.14.1/axe.min.js").read_text()
# What moves in is pale on its way, and axe would measure the contrast of that instant.
STILL = """
    () => Promise.all(
        document.getAnimations()
            .filter((animation) => animation.effect.getComputedTiming().endTime !== Infinity)
            .map((animation) => animation.finished.catch(() => {}))
    ).then(() => {})
"""
RUN = """
    async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
        .map((violation) => `${violation.id}: ${violation.nodes.map((n) => n.html + n.failureSummary).join(" | ")}`)
"""
TEXT = """# Heading

Words, `code`, [a link](https://example.org) and ![a picture](https://example.org/a.png).

| a | b |
|--:|---|
| 1 | 2 |

> quote

```python
# comment
def f(x: int = 3) -> str:
    return "text"
```
"""
MENUS = (
    "[data-picker] > summary",
    "details[data-documents] > summary",
    ".user-summary",
    "summary[aria-label='Options for this chat']",
)
THEMES = ["light", "dark"]


def complaints(page: Page) -> list[str]:
    page.evaluate(AXE)
    page.evaluate(STILL)
    return page.evaluate(RUN)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("address", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing/"])
def test_pages_for_everyone(page: Page, theme: str, address: str) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(address)
    assert complaints(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_pages_of_a_person(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    chat = create_chat(owner, title="A chat")
    for address in (
        "/",
        "/chats/",
        f"/chats/{chat.pk}/",
        f"/chats/{chat.pk}/rename/",
        f"/?deleted={chat.pk}",
        "/settings/",
    ):
        page.goto(address)
        assert (address, complaints(page)) == (address, [])


@pytest.mark.parametrize("theme", THEMES)
def test_a_conversation_with_everything_open(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    chat = create_chat(owner, title="Everything")
    asked = Message.objects.create(chat=chat, role="user", content="Show everything")
    answer = Message.objects.create(chat=chat, role="assistant", content=TEXT, reasoning="Hm.", parent=asked)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=answer)
    page.goto(f"/chats/{chat.pk}/")
    expect(page.locator(".hljs-keyword").first).to_be_visible()
    page.locator(".reasoning summary").click()
    assert complaints(page) == []
    for menu in MENUS:
        page.locator(menu).click()
        assert (menu, complaints(page)) == (menu, [])
        page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    assert complaints(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_while_it_answers_and_when_it_failed(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    chat = create_chat(owner, title="Running")
    page.goto(f"/chats/{chat.pk}/")
    page.get_by_label("Message", exact=True).fill("failure")
    page.keyboard.press("Enter")
    expect(page.locator("article[data-reply] .open-block")).to_be_attached()
    assert complaints(page) == []
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert complaints(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_a_tree_and_a_question_that_nobody_has_answered(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    chat = create_chat(owner, title="A tree")
    asked = append_message(chat, role="user", content="What is a leap second?")
    answers = [append_message(chat, role="assistant", content=TEXT, parent=asked) for _ in range(2)]
    append_message(chat, role="user", content="And why?", parent=answers[0])
    forked, _ = fork_chat(owner, answers[1])
    for address in (
        f"/chats/{chat.pk}/",
        f"/messages/{asked.pk}/edit/",
        f"/messages/{answers[0].pk}/again/",
        f"/messages/{answers[0].pk}/delete/",
        f"/chats/{forked.pk}/",
    ):
        page.goto(address)
        assert (address, complaints(page)) == (address, [])
        if address == f"/chats/{chat.pk}/":
            expect(page.get_by_role("button", name="Answer", exact=True)).to_be_visible()
            expect(page.get_by_text("1 of 2")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_what_waits_for_a_server_that_is_away(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    page.goto(f"/chats/{create_chat(owner, title='Waiting').pk}/")
    page.context.set_offline(True)
    page.get_by_label("Message", exact=True).fill("Are you there?")
    page.keyboard.press("Enter")
    expect(page.locator("[data-network]")).to_be_visible()
    assert complaints(page) == []
    page.context.set_offline(False)


@pytest.mark.parametrize("theme", THEMES)
def test_on_a_phone_with_the_drawer_open(signed_in: Page, owner: User, theme: str) -> None:
    page = signed_in
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": 390, "height": 844})
    create_chat(owner, title="In the drawer")
    page.goto("/")
    assert complaints(page) == []
    page.get_by_role("button", name="List of chats", exact=True).click()
    assert complaints(page) == []
