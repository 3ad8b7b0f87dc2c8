"""The one cast of the whole suite, and the servers it plays on."""

import importlib
import os
import shutil
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import StateApps
from django.test import Client
from django.utils import timezone
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import create_api_key, create_user
from chats.catalog.models import AIModel, Price, Provider
from chats.errors import NotFound
from chats.llm.tests.fake_provider import FakeProvider
from chats.models import Chat, Message, Reply
from chats.replies.services import stop_reply
from chats.replies.tests.stage import LOOK, SEND, Stage
from chats.services import append_message
from chats.tools.services import add_server
from chats.tools.tests.fake_issuer import FakeIssuer
from chats.tools.tests.fake_server import FakeMcpServer
from config.tests import servers, sockets
from config.tests.live import REPLIES_END_SECONDS, LiveServer, wait_until
from config.tests.plugin import run_dir
from config.tests.threads import in_thread

OpenSocket = Callable[..., Awaitable[AbstractAsyncContextManager[sockets.ChatSocket]]]
HAS_FAILED = pytest.StashKey[bool]()
PASSWORD = "correct horse battery"
# Nothing should take so long; a machine that is busy with other tests may.
BROWSER_MILLISECONDS = 20_000
CHROMIUM_MISSING = "There is no Chromium for the browser tests. Install it with: sudo apt-get install -y chromium"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
]


# How long an example may take says nothing where other tests have the cores.
hypothesis_settings.register_profile("parley", deadline=None)
hypothesis_settings.load_profile("parley")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Playwright leaves an event loop in the main thread, which would disturb asyncio tests after it.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Rate limits live in the cache; one test must not use up another's."""
    cache.clear()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The database goes with the run's directory; dropping it first would have to wait for the pool's connections."""
    return True


# ---------------------------------------------------------------- people


@pytest.fixture
def owner(db: None) -> User:
    return create_user("owner@example.org", password=PASSWORD, name="Olive Owner")


@pytest.fixture
def stranger(db: None) -> User:
    return create_user("stranger@example.org", password=PASSWORD, name="Sam Stranger")


@pytest.fixture
def staff(db: None) -> User:
    return create_user("staff@example.org", password=PASSWORD, name="Stella Staff", is_staff=True)


@pytest.fixture
def superuser(db: None) -> User:
    return create_user("superuser@example.org", password=PASSWORD, name="Uma Superuser", is_superuser=True)


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """`client_of(user)`: that person's browser, logged in."""

    def make(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def api_of() -> Callable[[User], APIClient]:
    """`api_of(user)`: that person's program, which shows an API key."""

    def make(user: User) -> APIClient:
        _, secret = create_api_key(user, name="Of the cast")
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return client

    return make


@pytest.fixture
def session_of() -> Callable[[User], str]:
    """`session_of(user)`: the key of a fresh session, as its cookie would carry it."""

    def make(user: User) -> str:
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value

    return make


# ---------------------------------------------------------------- models and their provider


@pytest.fixture
def demo_model(db: None) -> AIModel:
    """The model that a migration installs; a test that emptied the tables has taken it away, then it comes again."""
    importlib.import_module("chats.catalog.migrations.0002_demo_model").install(apps, None)
    return AIModel.objects.select_related("provider").get(provider__kind=Provider.Kind.DEMO)


@pytest.fixture(scope="session")
def _fake_provider() -> Iterator[FakeProvider]:
    provider = FakeProvider()
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture
def fake_provider(_fake_provider: FakeProvider) -> FakeProvider:
    """A server that speaks the real wire, and misbehaves on order."""
    _fake_provider.reset()
    return _fake_provider


@pytest.fixture
def openai_model(db: None, fake_provider: FakeProvider) -> AIModel:
    """A model of the fake provider, at 1.25 USD in and 10 USD out per million tokens."""
    provider = Provider.objects.create(name="Fake provider", base_url=fake_provider.base_url, api_key="sk-fake")
    model = AIModel.objects.create(provider=provider, name="Fake model", model_id="fake-1", enabled=True, order=50)
    Price.objects.create(model=model, input_per_million="1.25", output_per_million="10")
    return model


@pytest.fixture(scope="session")
def _mcp() -> Iterator[FakeMcpServer]:
    server = FakeMcpServer().start()
    yield server
    server.stop()


@pytest.fixture
def mcp(_mcp: FakeMcpServer) -> FakeMcpServer:
    """A server of tools that speaks the real wire, and misbehaves on order."""
    _mcp.reset()
    return _mcp


@pytest.fixture(scope="session")
def _issuer() -> Iterator[FakeIssuer]:
    server = FakeIssuer().start()
    yield server
    server.stop()


@pytest.fixture
def issuer(_issuer: FakeIssuer) -> FakeIssuer:
    """An authorization server that speaks the real wire, and misbehaves on order."""
    _issuer.reset()
    return _issuer


# ---------------------------------------------------------------- servers


@pytest.fixture(scope="session")
def redis_url() -> str:
    return servers.start_redis(run_dir() / f"redis-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


@pytest.fixture(scope="session")
def _live_server(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveServer]:
    # The engine looks after its rows between two tests as well.
    with django_db_blocker.unblock():
        server = LiveServer()
        server.start()
        yield server
        server.stop()


@pytest.fixture
def live(_live_server: LiveServer, transactional_db: None, demo_model: AIModel) -> Iterator[LiveServer]:
    """The product behind `live.base_url` and `live.ws_url`, with the engine running and the demo model."""
    yield _live_server
    # The tables are emptied next: a reply still being written would write into the following test.
    for reply in Reply.objects.unfinished():
        with suppress(NotFound):
            stop_reply(reply)
    wait_until(
        lambda: not Reply.objects.unfinished().exists(), seconds=REPLIES_END_SECONDS, what="every reply has ended"
    )


@pytest.fixture
def stage(
    live: LiveServer,
    owner: User,
    openai_model: AIModel,
    mcp: FakeMcpServer,
    *,
    fake_provider: FakeProvider,
    settings: Any,
) -> Stage:
    """A running product whose owner has a server with a tool that looks up and one that sends."""
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    mcp.tools = [LOOK, SEND]
    server = add_server(owner, name="Fake", url=mcp.url, headers={})
    stage = Stage(owner=owner, server=server, mcp=mcp, provider=fake_provider)
    stage.look()
    return stage


@pytest.fixture
def open_socket(live: LiveServer, session_of: Callable[[User], str]) -> OpenSocket:
    """`async with await open_socket(user, chat) as socket`: that person's page of a chat, or of none, connected."""

    async def make(
        user: User, chat: Chat | UUID | str | None, **options: Any
    ) -> AbstractAsyncContextManager[sockets.ChatSocket]:
        session = await in_thread(session_of, user)
        return sockets.open_socket(live.ws_url, chat.id if isinstance(chat, Chat) else chat, session=session, **options)

    return make


@pytest.fixture
def run_elsewhere(live: LiveServer, owner: User) -> Iterator[Callable[[Chat], Reply]]:
    """`run_elsewhere(chat)`: a reply to «Hi» as another node runs it. Nothing but its rows says how it stands."""
    made: list[Reply] = []

    def make(chat: Chat) -> Reply:
        question = append_message(chat, role="user", content="Hi")
        answer = append_message(chat, role="assistant", content="So far")
        reply = Reply.objects.create(
            chat=chat,
            user=owner,
            prompt=question,
            message=answer,
            status=Reply.Status.RUNNING,
            heartbeat_at=timezone.now() + timedelta(hours=1),
            snapshot_seq=3,
        )
        Message.objects.filter(pk=answer.pk).update(reply=reply)
        made.append(reply)
        return reply

    yield make
    Reply.objects.filter(pk__in=[reply.pk for reply in made]).update(status=Reply.Status.STOPPED)


@pytest.fixture
def migrate(transactional_db: None) -> Iterator[Callable[[str, str], StateApps]]:
    """`migrate(app, name)`: all models as they are at that migration of the app. Afterwards all is as it was."""

    def run(app: str, name: str) -> StateApps:
        call_command("migrate", app, name, stdout=StringIO())
        loader = MigrationLoader(connection)
        return loader.project_state([key for key in loader.applied_migrations if key in loader.graph.nodes]).apps

    yield run
    call_command("migrate", stdout=StringIO())


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.fail(CHROMIUM_MISSING, pytrace=False)
    expect.set_options(timeout=BROWSER_MILLISECONDS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Its loop runs in this thread, which Django would take for asynchronous code of ours.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, live: LiveServer) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=live.base_url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(BROWSER_MILLISECONDS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the live server. When the test fails, its picture is in build/screenshots."""
    page = context.new_page()
    yield page
    if request.node.stash.get(HAS_FAILED, False):
        folder = Path("build/screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{request.node.name}.png", full_page=True)


@pytest.fixture
def log_in(context: BrowserContext, live: LiveServer, session_of: Callable[[User], str]) -> Callable[[User], None]:
    """`log_in(user)`: from here on the browser is that person's."""

    def make(user: User) -> None:
        context.add_cookies([{"name": "sessionid", "value": session_of(user), "url": live.base_url}])

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[HAS_FAILED] = report.failed
    return report
