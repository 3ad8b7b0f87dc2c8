"""An agent of a person's: the real client of MCP, at the live server."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from accounts.models import ApiKey, User
from accounts.services import create_api_key
from chats.llm.tests.fake_provider import FakeProvider, Script
from config.tests.live import LiveServer

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@dataclass
class Agent:
    """`mode` chooses between clients that begin with a handshake and those that don't."""

    url: str
    key: ApiKey
    secret: str
    mode: str = "auto"

    @property
    def http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(headers={"Authorization": f"Bearer {self.secret}"}, timeout=30)

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Client]:
        async with (
            self.http as http,
            Client(streamable_http_client(self.url, http_client=http), **{"mode": self.mode, **options}) as client,
        ):
            yield client

    async def call(self, name: str, **arguments: Any) -> Any:
        """The result of one call."""
        async with self.connect() as client:
            return await client.call_tool(name, arguments)

    async def found(self, name: str, **arguments: Any) -> Any:
        """The structured answer of one call that succeeds."""
        result = await self.call(name, **arguments)
        assert not result.is_error, result.content
        return result.structured_content

    async def error(self, name: str, **arguments: Any) -> str:
        """The code of one call that fails."""
        result = await self.call(name, **arguments)
        assert result.is_error, result.content
        code: str = result.structured_content["error"]["code"]
        assert f"(code: {code})" in result.content[0].text
        return code

    def post(self, body: Any, **headers: str) -> AbstractAsyncContextManager[httpx2.Response]:
        """One request without any client of MCP; `body` as JSON, or bytes as they are."""
        return _post(self, body, headers)


@asynccontextmanager
async def _post(agent: Agent, body: Any, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
    how: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    async with agent.http as http:
        yield await http.post(agent.url, **how, headers={**HEADERS, **headers})


@pytest.fixture
def agent_of(live: LiveServer) -> Callable[[User], Agent]:
    """`agent_of(user)`: that person's agent, with a key."""

    def make(user: User, **options: Any) -> Agent:
        key, secret = create_api_key(user, name="Agent")
        return Agent(f"{live.base_url}/mcp", key, secret, **options)

    return make


@pytest.fixture
def agent(agent_of: Callable[[User], Agent], owner: User) -> Agent:
    return agent_of(owner)


@pytest.fixture(params=["auto", "legacy"])
def any_agent(request: pytest.FixtureRequest, agent_of: Any, owner: User) -> Agent:
    """With today's protocol, and with that of the handshake."""
    return agent_of(owner, mode=request.param)


@pytest.fixture
def says(fake_provider: FakeProvider, openai_model: Any) -> Callable[..., None]:
    """`says(text=…)`: how the model «Fake model» answers from now on."""

    def script(**how: Any) -> None:
        fake_provider.script("fake-1", Script(**how))

    return script
