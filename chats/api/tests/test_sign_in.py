"""Signing in to servers of tools over the API: begun in a session, and ended with one request."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from accounts.models import User
from accounts.services import create_api_key
from chats.tools.models import Credential, McpServer, SignIn
from chats.tools.services import add_server
from chats.tools.tests.fake_behaviour import Fault
from chats.tools.tests.fake_issuer import FakeIssuer
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool
from config.tests.live import LiveServer

SIGNED_IN = {"is_needed": False, "is_signed_in": True}
NEEDED = {"is_needed": True, "is_signed_in": False}


class Site:
    """A script of the site itself, in the session of its person."""

    def __init__(self, live: LiveServer, session_key: str) -> None:
        self.base = live.base_url
        self.http = requests.Session()
        self.http.cookies.set("sessionid", session_key)
        self.http.get(f"{self.base}/settings/", timeout=10)

    def ask(self, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"X-CSRFToken": self.http.cookies["csrftoken"]}
        url = f"{self.base}/api/v1/mcp-servers/{path}"
        answer = self.http.request(verb, url, json=body, headers=headers, timeout=30)
        return answer.status_code, answer.json() if answer.content else None

    def come_back(self, url: str) -> requests.Response:
        return self.http.get(url, allow_redirects=False, timeout=30)


@pytest.fixture
def site(live: LiveServer, session_of: Callable[[User], str], owner: User) -> Site:
    return Site(live, session_of(owner))


@pytest.fixture
def server(live: LiveServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer, settings: Any) -> McpServer:
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.MCP_CONNECT_SECONDS = 5
    mcp.tools = [FakeTool("read")]
    issuer.protect(mcp)
    return add_server(owner, name="Fake", url=mcp.url, headers={})


def test_a_person_signs_in_and_out(site: Site, server: McpServer, issuer: FakeIssuer) -> None:
    assert site.ask("post", f"{server.pk}/test/")[1]["sign_in"] == NEEDED
    status, begun = site.ask("post", f"{server.pk}/sign-in/", {})
    assert status == 200
    assert begun.keys() == {"authorization_url"}
    assert site.come_back(issuer.allow(begun["authorization_url"])).status_code == 302
    _, shown = site.ask("get", f"{server.pk}/")
    assert (shown["status"], shown["error"], shown["sign_in"]) == ("ready", None, SIGNED_IN)
    assert site.ask("get", "")[1]["results"][0]["sign_in"] == SIGNED_IN
    assert site.ask("delete", f"{server.pk}/sign-in/") == (204, None)
    assert not Credential.objects.exists()
    assert len(issuer.asked("/revoke")) == 1
    assert site.ask("get", f"{server.pk}/")[1]["sign_in"] == NEEDED
    assert site.ask("delete", f"{server.pk}/sign-in/") == (204, None)


def test_a_server_that_lets_everybody_in_needs_no_sign_in(site: Site, server: McpServer, mcp: FakeMcpServer) -> None:
    site.ask("post", f"{server.pk}/test/")
    mcp.require_token(None)
    assert site.ask("post", f"{server.pk}/test/")[1]["sign_in"] == {"is_needed": False, "is_signed_in": False}


def test_a_server_with_a_header_of_its_own_needs_that(
    site: Site, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    path = f"{server.pk}/"
    _, shown = site.ask("patch", path, {"config": {"url": server.url, "headers": {"Authorization": "x"}}})
    assert shown["status"] == "sign_in"
    assert shown["sign_in"]["is_needed"] is False
    # Who signs in all the same is let in by that, and what was entered is not sent.
    _, begun = site.ask("post", f"{path}sign-in/", {})
    assert site.come_back(issuer.allow(begun["authorization_url"])).status_code == 302
    assert site.ask("get", path)[1]["status"] == "ready"
    assert mcp.requests[-1].headers["authorization"].startswith("Bearer access-")


def test_a_program_is_told_where_its_person_begins(
    live: LiveServer, server: McpServer, owner: User, issuer: FakeIssuer
) -> None:
    headers = {"Authorization": f"Bearer {create_api_key(owner, name='test')[1]}"}
    url = f"{live.base_url}/api/v1/mcp-servers/{server.pk}/sign-in/"
    answer = requests.post(url, json={}, headers=headers, timeout=10)
    assert answer.json() == {"authorization_url": f"{live.base_url}/tools/{server.pk}/sign-in/"}
    assert not SignIn.objects.exists()
    assert not issuer.requests


@pytest.mark.parametrize(
    "body", [{"client_id": "x" * 501}, {"client_id": "ä"}, {"client_secret": "alone"}, {"client_id": 5}]
)
def test_what_is_no_client_is_refused(site: Site, server: McpServer, body: dict[str, Any]) -> None:
    status, said = site.ask("post", f"{server.pk}/sign-in/", body)
    assert status == 400
    assert said["error"]["fields"].keys() <= {"client_id", "client_secret"}


def test_what_is_wrong_with_an_issuer_is_said(site: Site, server: McpServer, issuer: FakeIssuer) -> None:
    issuer.metadata = {"code_challenge_methods_supported": None}
    status, said = site.ask("post", f"{server.pk}/sign-in/", {})
    assert (status, said["error"]["code"]) == (400, "sign_in_failed")
    assert "PKCE" in said["error"]["message"]
    issuer.metadata = {}
    issuer.order("/register", Fault(status=403, body={"error": "access_denied", "error_description": "canary"}))
    status, said = site.ask("post", f"{server.pk}/sign-in/", {})
    assert status == 400
    assert "canary" not in said["error"]["message"]


def test_signing_in_is_counted(site: Site, server: McpServer, settings: Any) -> None:
    settings.MCP_CHANGES_PER_HOUR = 1
    assert site.ask("post", f"{server.pk}/sign-in/", {})[0] in {200, 429}
    assert site.ask("post", f"{server.pk}/sign-in/", {})[0] == 429
