"""Nothing a model, a person or a program writes runs, loads, submits or frames anything in a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import CDPSession, Page

from accounts.models import User
from chats.models import Chat, Message
from chats.pages import markdown
from chats.pages.history import PAGE_SIZE
from chats.pages.tests.payloads import HEAVY, PAYLOADS
from chats.services import create_chat

pytestmark = pytest.mark.browser

# A tree without what two parsers may write differently: the order of attributes, and how text is cut into nodes.
CANONICAL = """
    (html) => {
        const template = document.createElement("template");
        template.innerHTML = html;
        const write = (node) => {
            if (node.nodeType === Node.TEXT_NODE) return node.data;
            const attributes = [...node.attributes].map((a) => `${a.name}=${a.value}`).sort();
            return `<${node.tagName} ${attributes.join(" ")}>${[...node.childNodes].map(write).join("")}</>`;
        };
        template.content.normalize();
        return [...template.content.childNodes].map(write).join("").trim();
    }
"""
TWIN = f"""
    async (pairs) => {{
        const {{ render }} = await import("/static/chats/js/markdown.js");
        const canonical = {CANONICAL};
        return pairs.map(([text, html]) => {{
            const box = document.createElement("div");
            box.append(render(text));
            return [canonical(box.innerHTML), canonical(html)];
        }});
    }}
"""
STREAM = """
    async (texts) => {
        const { Draft } = await import("/static/chats/js/markdown.js");
        const prose = document.createElement("div");
        prose.className = "prose growing";
        document.getElementById("log").append(prose);
        for (const text of texts) {
            const draft = new Draft(prose);
            const step = Math.max(1, Math.ceil(text.length / 25));
            for (let end = step; end < text.length + step; end += step) draft.show(text.slice(0, end));
        }
    }
"""
# Outside of the page: to lay all of it out would take longer than to format it.
DRAFT = """
    async (text) => {
        const { Draft } = await import("/static/chats/js/markdown.js");
        const draft = new Draft(document.createElement("div"));
        window.show = (share) => {
            const start = performance.now();
            draft.show(text.slice(0, Math.ceil(text.length * share)));
            return performance.now() - start;
        };
    }
"""
ALL_STEPS = "steps => Math.max(...Array.from({ length: steps }, (_, step) => window.show((step + 1) / steps)))"
STEPS = 25
FREEZE_MILLISECONDS = 200
TRIES = 3
FOREIGN = (
    ".prose :is(script, style, link, meta, img, picture, video, audio, iframe, object, embed, form, input, math),"
    ".prose svg:not(.code-actions svg)"
)
# Addresses that are none, and space at the end: the two ports read them differently, each harmlessly.
KNOWN_DIFFERENCES = {
    "http://[::1]/ http://[broken/ https:///x",
    "![a](http://[/a.png)",
    "a\u2028<script>window.owned=1</script>\u2029",
}


@pytest.fixture(autouse=True)
def _nothing_left_the_house(page: Page) -> Iterator[None]:
    """No request to another host, no navigation, and no script of anyone else."""
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if "127.0.0.1" not in request.url else None)
    yield
    assert not foreign
    assert page.evaluate("window.owned") is None


def chat_of(owner: User, texts: list[str]) -> Chat:
    chat = create_chat(owner, title=texts[0][:100])
    rows: list[Message] = []
    for number, text in enumerate(texts):
        role = "assistant" if number % 2 else "user"
        rows.append(Message(chat=chat, role=role, content=text, reasoning=text, parent=rows[-1] if rows else None))
    Message.objects.bulk_create(rows)
    Chat.objects.filter(pk=chat.pk).update(current_leaf=rows[-1])
    return chat


def test_no_payload_acts_in_a_conversation(signed_in: Page, owner: User) -> None:
    page = signed_in
    # Shifted by one, so that each is said once by a person and once by a model.
    for start in (0, 1):
        for first in range(start, len(PAYLOADS), PAGE_SIZE):
            texts = PAYLOADS[first : first + PAGE_SIZE]
            chat = chat_of(owner, texts)
            page.goto(f"/chats/{chat.pk}/")
            assert page.locator("article").count() == len(texts)
            assert page.locator(FOREIGN).count() == 0
            assert page.url.endswith(f"/chats/{chat.pk}/")


def test_no_payload_acts_as_a_title(signed_in: Page, owner: User) -> None:
    page = signed_in
    Chat.objects.bulk_create([Chat(user=owner, title=text[:200].replace("\0", "")) for text in PAYLOADS])
    page.goto("/chats/")
    page.goto("/")
    assert page.locator(".chat-row").count() >= 30


def test_no_payload_acts_while_it_streams(signed_in: Page, owner: User) -> None:
    page = signed_in
    page.goto(f"/chats/{create_chat(owner, title='Stream').pk}/")
    page.evaluate(STREAM, PAYLOADS)
    assert page.locator(FOREIGN).count() == 0


@pytest.mark.timeout(120)  # much to format, with the machine shared
def test_no_text_freezes_the_page_while_it_streams(signed_in: Page, owner: User) -> None:
    page = signed_in
    page.goto(f"/chats/{create_chat(owner, title='Stream').pk}/")
    slow = [name for name, text in HEAVY.items() if longest_wait(page, text) > FREEZE_MILLISECONDS]
    for _ in range(TRIES):
        # Once may be the machine, whose other tests take the caches too; every time is the text.
        slow = [name for name in slow if longest_work(page, HEAVY[name]) > FREEZE_MILLISECONDS]
    assert slow == []


def longest_wait(page: Page, text: str) -> float:
    """Milliseconds that went by at most while one step of `text` was formatted."""
    page.evaluate(DRAFT, text)
    return page.evaluate(ALL_STEPS, STEPS)


def longest_work(page: Page, text: str) -> float:
    """Milliseconds that the page's thread worked at most to format one step of `text`, however long it had to wait."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(DRAFT, text)
    longest = 0.0
    for step in range(1, STEPS + 1):
        before = worked_seconds(cdp)
        page.evaluate("share => window.show(share)", step / STEPS)
        longest = max(longest, worked_seconds(cdp) - before)
    cdp.detach()
    return longest * 1000


def worked_seconds(cdp: CDPSession) -> float:
    metrics = {metric["name"]: metric["value"] for metric in cdp.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]


def test_browser_and_server_format_alike(signed_in: Page, owner: User) -> None:
    page = signed_in
    page.goto(f"/chats/{create_chat(owner, title='Twins').pk}/")
    texts = [text for text in PAYLOADS if text not in KNOWN_DIFFERENCES]
    pairs = [[text, str(markdown.render(text))] for text in texts]
    results = page.evaluate(TWIN, pairs)
    differing = [(text, *pair) for text, pair in zip(texts, results, strict=True) if pair[0] != pair[1]]
    assert differing == []
