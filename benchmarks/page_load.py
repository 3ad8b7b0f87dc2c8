"""What a person with an empty browser cache waits for: the composer, long chats, and what is further up in them."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.product import FIRST_PAGE, Product, create_chat
from config.tests.cluster import EMAIL, PASSWORD

ROUNDS = 5
LAST = "This is the last message of a long chat."


async def make_long_chat(product: Product, *, messages: int) -> str:
    """A chat of that many imported messages; returns its id."""
    async with product.session() as session:
        chat = await create_chat(session, title="A long chat", model=product.model)
        for number in range(messages):
            role = "assistant" if number % 2 else "user"
            content = LAST if number == messages - 1 else f"Message {number} says **something** about `code`."
            body = {"chat": chat, "role": role, "content": content}
            async with session.post("/api/v1/messages/", json=body) as response:
                response.raise_for_status()
    return chat


def measure(product: Product, *, long_chats: dict[int, str]) -> dict[str, Any]:
    """`long_chats`: ids by number of messages."""
    base_url = product.server.url
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:

        def launch() -> Browser:
            return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        session = log_in(launch(), base_url)
        empty = [load(launch(), session, f"{base_url}/", composer_takes_text) for _ in range(ROUNDS)]
        long = {
            f"chat_of_{size}_messages": [
                load(launch(), session, f"{base_url}/chats/{chat}/", shows_last_message, then=earlier_seconds)
                for _ in range(ROUNDS)
            ]
            for size, chat in long_chats.items()
        }
    return {"composer": summary(empty)} | {name: summary(rounds) for name, rounds in long.items()}


def log_in(browser: Browser, base_url: str) -> Any:
    """The cookies of a person who has logged in by the form."""
    page = browser.new_page()
    page.goto(base_url + FIRST_PAGE)
    page.fill("input[name=login]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("textarea")
    session = page.context.storage_state()
    browser.close()
    return session


def load(
    browser: Browser,
    session: Any,
    url: str,
    is_there: Callable[[Page], None],
    *,
    then: Callable[[Page], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Open the page in a browser that has never been here; seconds until `is_there`, requests and kB of all of it.

    `then` measures something else on the page that is there.
    """
    page = browser.new_context(storage_state=session).new_page()
    with counted_traffic(page) as traffic:
        start = time.monotonic()
        page.goto(url, wait_until="commit")
        is_there(page)
        seconds = time.monotonic() - start
        page.wait_for_load_state("networkidle")
        weight = dict(traffic)
        more = then(page) if then else {}
    browser.close()
    return {"seconds": seconds, **weight, **more}


@contextmanager
def counted_traffic(page: Page) -> Iterator[dict[str, float]]:
    traffic = {"requests": 0.0, "kB": 0.0}
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")

    def count(_: Any) -> None:
        traffic["requests"] += 1

    def weigh(event: dict[str, Any]) -> None:
        traffic["kB"] += event["encodedDataLength"] / 1000

    devtools.on("Network.requestWillBeSent", count)
    devtools.on("Network.loadingFinished", weigh)
    yield traffic


def composer_takes_text(page: Page) -> None:
    page.locator("textarea").first.fill("Hello")


def shows_last_message(page: Page) -> None:
    page.get_by_text(LAST).last.wait_for(state="visible")


def earlier_seconds(page: Page) -> dict[str, float]:
    """How long one who scrolls to the top waits for the messages before, at most, over five pages."""
    waits = []
    for _ in range(5):
        shown = page.locator("article").count()
        start = time.monotonic()
        page.locator("[data-scroller]").evaluate("element => (element.scrollTop = -element.scrollHeight)")
        page.wait_for_function("shown => document.querySelectorAll('article').length > shown", arg=shown)
        waits.append(time.monotonic() - start)
    return {"earlier_seconds": max(waits)}


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    middle = {name: median(one[name] for one in rounds) for name in rounds[0]}
    shown = {name: round(value, 2) for name, value in middle.items() if name.endswith("seconds")}
    return {**shown, "requests": int(middle["requests"]), "kB": round(middle["kB"])}
