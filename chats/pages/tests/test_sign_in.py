"""Signing in to a server of tools in a browser: there, back in the same session, once, and out again."""

import html
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
import requests
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from django.utils import timezone

from accounts.models import User
from chats.replies.servers import look_now
from chats.tools.errors import SignInFailed
from chats.tools.models import Credential, McpServer, SignIn, Tool
from chats.tools.oauth.flow import NONCE
from chats.tools.oauth.rows import take_pending
from chats.tools.services import add_server, save_shared_server, update_server
from chats.tools.tests.fake_behaviour import Fault, redirect
from chats.tools.tests.fake_issuer import METADATA, RESOURCE, FakeIssuer
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool
from config import logs
from config.tests.live import LiveServer, wait_until

CALLBACK = "/tools/oauth/callback/"
TOOL = FakeTool("read", "Reads", annotations={"readOnlyHint": True})


@dataclass
class Browser:
    """Somebody's browser, over real HTTP."""

    base: str
    session_key: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.cookies.set("sessionid", self.session_key)

    def get(self, url: str) -> requests.Response:
        url = url if url.startswith("http") else f"{self.base}{url}"
        return self.http.get(url, allow_redirects=False, timeout=30)

    def post(self, path: str, **form: str) -> requests.Response:
        token = self.http.cookies.get("csrftoken") or ""
        if not token:
            self.get("/settings/")
            token = self.http.cookies.get("csrftoken") or ""
        form |= {"csrfmiddlewaretoken": token}
        return self.http.post(f"{self.base}{path}", data=form, allow_redirects=False, timeout=30)

    def begin(self, server: McpServer, **form: str) -> str:
        """The address that the page sends its person on to."""
        page = self.post(f"/tools/{server.pk}/sign-in/", **form)
        assert page.status_code == 200, page.text
        return onward(page)


def onward(page: requests.Response) -> str:
    found = re.search(r'href="([^"]+)" rel="noreferrer"', page.text)
    assert found, page.text
    return html.unescape(found[1])


@pytest.fixture
def browse(live: LiveServer, session_of: Callable[[User], str]) -> Callable[[User], Browser]:
    return lambda user: Browser(live.base_url, session_of(user))


@pytest.fixture
def browser_of_owner(browse: Callable[[User], Browser], owner: User) -> Browser:
    return browse(owner)


@pytest.fixture
def server(live: LiveServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer, settings: Any) -> McpServer:
    """A server of the owner's that wants people to sign in at `issuer`."""
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.MCP_CONNECT_SECONDS = 5
    mcp.tools = [TOOL]
    issuer.protect(mcp)
    return add_server(owner, name="Fake", url=mcp.url, headers={})


@pytest.fixture
def me(browser_of_owner: Browser) -> Browser:
    return browser_of_owner


def with_parameters(url: str, **changed: str | None) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **changed}
    return urlunsplit(parts._replace(query=urlencode({k: v for k, v in query.items() if v is not None})))


def is_refused(answer: requests.Response) -> bool:
    assert answer.status_code == 400, (answer.status_code, answer.text)
    assert "You are not signed in" in answer.text
    return not Credential.objects.exists()


# ---------------------------------------------------------------- there and back


def test_a_person_signs_in_and_the_server_shows_its_tools(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    asking = me.get(f"/tools/{server.pk}/sign-in/")
    assert asking.status_code == 200
    page = me.post(f"/tools/{server.pk}/sign-in/")
    assert "Continue to 127.0.0.1" in page.text
    assert page.headers["Cache-Control"].count("no-store") == 1
    back = me.get(issuer.allow(onward(page)))
    assert (back.status_code, back.headers["Location"]) == (302, f"/tools/{server.pk}/")
    assert back.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in back.headers["Cache-Control"]
    server.refresh_from_db()
    assert server.status == "ready"
    assert [tool.name for tool in Tool.objects.filter(server=server)] == ["read"]
    credential = Credential.objects.get()
    assert credential.grant is not None
    assert credential.grant.access_token in issuer.tokens
    assert mcp.requests[-1].headers["authorization"] == f"Bearer {credential.grant.access_token}"
    assert timezone.now() < credential.expires_at <= timezone.now() + timedelta(seconds=3600)


def test_the_address_has_all_that_makes_it_safe(me: Browser, server: McpServer, issuer: FakeIssuer, live: Any) -> None:
    asked = parse_qs(urlsplit(me.begin(server)).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["resource"] == [server.url]
    assert asked["redirect_uri"] == [f"{live.base_url}{CALLBACK}"]
    assert len(asked["state"][0]) >= 43
    assert len(asked["code_challenge"][0]) == 43
    (client,) = issuer.clients.values()
    assert client["redirect_uris"] == [f"{live.base_url}{CALLBACK}"]


def test_people_come_back_to_the_address_that_the_operator_has_named(
    me: Browser, server: McpServer, settings: Any
) -> None:
    settings.FRONTEND_HOST = "https://chat.example.org"
    asked = parse_qs(urlsplit(me.begin(server)).query)
    assert asked["redirect_uri"] == [f"https://chat.example.org{CALLBACK}"]


def test_a_client_that_was_entered_is_used_and_none_is_registered(
    me: Browser, server: McpServer, issuer: FakeIssuer, live: LiveServer
) -> None:
    issuer.metadata = {"registration_endpoint": None}
    refused = me.post(f"/tools/{server.pk}/sign-in/")
    assert refused.status_code == 400
    assert "enter its client id" in refused.text
    client = {"client_id": "mine", "client_secret": "s3cret/+%", "redirect_uris": [f"{live.base_url}{CALLBACK}"]}
    issuer.clients["mine"] = client
    back = me.get(issuer.allow(me.begin(server, client_id="mine", client_secret="s3cret/+%")))
    assert back.status_code == 302
    assert not issuer.asked("/register")


def test_a_client_is_registered_once_for_an_issuer(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    for _ in range(2):
        assert me.get(issuer.allow(me.begin(server))).status_code == 302
    assert len(issuer.clients) == 1
    assert Credential.objects.get().version == 2


def test_a_client_of_one_issuer_is_nothing_to_another(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    row = Credential.objects.get()
    elsewhere = replace(row.grant.client, issuer="https://elsewhere.example")
    Credential.objects.update(secrets=replace(row.grant, client=elsewhere).pack())
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    assert len(issuer.clients) == 2


@pytest.mark.parametrize("method", ["none", "client_secret_post", "client_secret_basic"])
def test_parley_says_who_it_is_as_the_issuer_wants_it(
    me: Browser, server: McpServer, issuer: FakeIssuer, method: str
) -> None:
    issuer.metadata = {"token_endpoint_auth_methods_supported": [method]}
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    assert issuer.clients.popitem()[1]["token_endpoint_auth_method"] == method


def test_what_the_server_asks_for_is_asked_for_and_nothing_else(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    issuer.metadata = {"scopes_supported": ["everything", "files:read"]}
    assert "scope" not in parse_qs(urlsplit(me.begin(server)).query)
    issuer.protect(mcp, scope="files:read")
    page = me.post(f"/tools/{server.pk}/sign-in/")
    assert "<code>files:read</code>" in page.text
    assert parse_qs(urlsplit(onward(page)).query)["scope"] == ["files:read"]


def test_a_server_without_resource_metadata_may_have_its_issuer_beside_it(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    mcp.order(f"{RESOURCE}/mcp", Fault(status=404))
    origin = mcp.url.removesuffix("/mcp")
    mcp.order(METADATA, Fault(body={**issuer.said(), "issuer": origin}))
    assert me.get(issuer.allow(me.begin(server), iss=origin)).status_code == 302


# ---------------------------------------------------------------- who comes back


def test_a_state_is_good_once(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    answer = issuer.allow(me.begin(server))
    assert me.get(answer).status_code == 302
    Credential.objects.all().delete()
    assert is_refused(me.get(answer))
    assert len(issuer.asked("/token")) == 1


def test_a_state_is_not_good_for_another_person(
    me: Browser, server: McpServer, issuer: FakeIssuer, browse: Callable[[User], Browser], stranger: User
) -> None:
    answer = issuer.allow(me.begin(server))
    assert is_refused(browse(stranger).get(answer))
    assert not issuer.asked("/token")
    # And the one who began it is not harmed.
    assert me.get(answer).status_code == 302


def test_a_state_is_not_good_for_another_person_who_has_the_session_of_the_first(
    me: Browser, server: McpServer, stranger: User, owner: User
) -> None:
    state = parse_qs(urlsplit(me.begin(server)).query)["state"][0]
    session = SessionStore(me.session_key)
    with pytest.raises(SignInFailed):
        take_pending(stranger.pk, state=state, nonce=session[NONCE])
    assert take_pending(owner.pk, state=state, nonce=session[NONCE])[0] == server.pk


def test_a_state_is_not_good_in_another_session(
    me: Browser, server: McpServer, issuer: FakeIssuer, browse: Callable[[User], Browser], owner: User
) -> None:
    answer = issuer.allow(me.begin(server))
    other = browse(owner)
    assert is_refused(other.get(answer))
    other.begin(server)
    assert is_refused(other.get(answer))
    assert not issuer.asked("/token")


def test_a_state_is_not_good_for_nobody(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    answer = issuer.allow(me.begin(server))
    refused = requests.get(answer, allow_redirects=False, timeout=10)
    assert is_refused(refused)
    # Nor is its code carried on to the page of the login.
    assert "Location" not in refused.headers
    assert "code-" not in refused.text


def test_a_state_is_not_good_after_ten_minutes(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    answer = issuer.allow(me.begin(server))
    SignIn.objects.update(created_at=timezone.now() - timedelta(minutes=10, seconds=1))
    refused = me.get(answer)
    assert is_refused(refused)
    assert "10 minutes" in refused.text
    assert not issuer.asked("/token")


@pytest.mark.parametrize(
    "changed",
    [
        {"state": None},
        {"state": ""},
        {"state": "wrong\x00"},
        {"code": None},
        {"code": ""},
        {"code": "x" * 9_000},
        {"code": "wrong\x00\ud800".encode("utf-8", "surrogatepass").decode("latin-1")},
        {"iss": None},
        {"iss": "https://elsewhere.example"},
        {"error": "access_denied", "code": None},
        {"error": "<script>", "code": None},
    ],
)
def test_an_answer_that_is_not_right_is_a_page_that_says_so(
    me: Browser, server: McpServer, issuer: FakeIssuer, changed: dict[str, str | None]
) -> None:
    answer = with_parameters(issuer.allow(me.begin(server)), **changed)
    refused = me.get(answer)
    assert is_refused(refused)
    assert "<script>" not in refused.text
    if "iss" in changed or "error" in changed:
        assert not issuer.asked("/token")


def test_who_says_no_has_changed_nothing_and_hears_so(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    answer = with_parameters(issuer.allow(me.begin(server)), error="access_denied", code=None)
    refused = me.get(answer)
    assert is_refused(refused)
    assert "You did not allow it at 127.0.0.1" in refused.text
    assert f"/tools/{server.pk}/" in refused.text


def test_a_server_that_moves_meanwhile_gets_no_token(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    answer = issuer.allow(me.begin(server))
    McpServer.objects.filter(pk=server.pk).update(url="http://127.0.0.1:9/mcp")
    assert is_refused(me.get(answer))
    assert not issuer.asked("/token")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body="<h1>No</h1>"),
        Fault(status=400, body={"error": "invalid_grant", "error_description": "It was code-canary"}),
        Fault(status=401, body={"error": "invalid_client"}),
        redirect("http://127.0.0.1:9/token"),
        Fault(drop=True),
        Fault(hang=True),
        Fault(drip_head=True),
        Fault(flood=b"x" * 10_000, flood_type="application/json"),
        Fault(body=b"[" * 100_000),
        Fault(body={"access_token": "has\nlines", "token_type": "Bearer"}),
        Fault(body={"access_token": "", "token_type": "Bearer"}),
        Fault(body={"access_token": "x", "token_type": "mac"}),
        Fault(body={"access_token": "x" * 20_000, "token_type": "Bearer"}),
        Fault(body={"access_token": "x", "token_type": "Bearer", "expires_in": "soon"}),
        Fault(gzip=True),
    ],
    ids=lambda fault: str(fault)[:60],
)
def test_an_issuer_that_gives_no_token_is_named_on_a_page(
    me: Browser, server: McpServer, issuer: FakeIssuer, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chats.tools.oauth.wire.HTTP_SECONDS", 1)
    answer = issuer.allow(me.begin(server))
    issuer.order("/token", fault)
    refused = me.get(answer)
    assert is_refused(refused)
    assert "127.0.0.1" in refused.text
    assert "canary" not in refused.text


@pytest.mark.parametrize("seconds", [None, 0, -5, 10**30])
def test_a_token_may_last_as_long_as_it_likes(
    me: Browser, server: McpServer, issuer: FakeIssuer, seconds: int | None
) -> None:
    issuer.token_seconds = seconds
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    assert Credential.objects.filter(expires_at=None).exists() is (seconds is None or seconds <= 0)


# ---------------------------------------------------------------- where people are sent


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"code_challenge_methods_supported": None}, "PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"issuer": "https://elsewhere.example"}, "which it is not"),
        ({"response_types_supported": ["token"]}, "by a browser"),
        ({"grant_types_supported": ["client_credentials"]}, "by a browser"),
        ({"authorization_endpoint": "http://elsewhere.example/authorize"}, "https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "does not say how"),
        ({"authorization_endpoint": "https://someone:else@elsewhere.example/"}, "user name"),
        ({"authorization_endpoint": "https://10.0.0.1/authorize"}, "private"),
        ({"token_endpoint": "http://169.254.169.254/latest/meta-data"}, "forbidden"),
        ({"token_endpoint": "https://169.254.169.254/"}, "forbidden"),
        ({"token_endpoint": "http://[::ffff:10.0.0.1]/"}, "private"),
        ({"registration_endpoint": "http://192.168.1.1/register"}, "private"),
        ({"registration_endpoint": "http://elsewhere.example/register"}, "https"),
        ({"revocation_endpoint": "http://10.1.2.3/"}, "private"),
    ],
)
def test_nobody_is_sent_where_it_is_not_safe(
    me: Browser, server: McpServer, issuer: FakeIssuer, metadata: dict[str, Any], words: str
) -> None:
    issuer.metadata = metadata
    refused = me.post(f"/tools/{server.pk}/sign-in/")
    assert is_refused(refused)
    assert words in refused.text
    assert not SignIn.objects.exists()
    assert not issuer.clients


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ({"resource": "https://elsewhere.example/mcp"}, "which it is not"),
        ({"authorization_servers": ["http://169.254.169.254/"]}, "forbidden"),
        ({"authorization_servers": ["http://10.0.0.1"]}, "private"),
        ({"authorization_servers": ["http://elsewhere.example"]}, "https"),
        ({"authorization_servers": []}, "does not say how"),
        ({"scopes_supported": ["x" * 3_000]}, "make no sense"),
        ({"scopes_supported": ['"><script>']}, "make no sense"),
    ],
)
def test_nobody_is_sent_by_a_server_that_says_strange_things(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer, *, resource: dict[str, Any], words: str
) -> None:
    issuer.protect(mcp, **resource)
    refused = me.post(f"/tools/{server.pk}/sign-in/")
    assert is_refused(refused)
    assert words in refused.text


def test_metadata_may_not_be_in_the_networks_of_the_operator(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    mcp.require_token(issuer.is_good, challenge='Bearer resource_metadata="http://169.254.169.254/latest"')
    refused = me.post(f"/tools/{server.pk}/sign-in/")
    assert is_refused(refused)
    assert "forbidden" in refused.text


def test_nor_where_the_server_is_the_operators_own(
    me: Browser, server: McpServer, mcp: FakeMcpServer, issuer: FakeIssuer, settings: Any
) -> None:
    McpServer.objects.filter(pk=server.pk).update(user=None)
    settings.OUTBOUND_ALLOWED_HOSTS = []
    mcp.require_token(issuer.is_good, challenge='Bearer resource_metadata="http://10.0.0.5:8500/v1/kv"')
    refused = me.post(f"/tools/{server.pk}/sign-in/")
    assert is_refused(refused)
    assert "leads to a private address" in refused.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body=""),
        Fault(status=404, body=""),
        Fault(hang=True),
        Fault(drop=True),
        Fault(flood=b"x" * 10_000, flood_type="application/json"),
        Fault(body=b"[" * 200_000),
        redirect("http://169.254.169.254/"),
    ],
    ids=lambda fault: str(fault)[:60],
)
@pytest.mark.parametrize("path", [METADATA, "/register"])
def test_an_issuer_that_does_not_answer_right_is_named_on_a_page(
    me: Browser, server: McpServer, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, *, fault: Fault, path: str
) -> None:
    monkeypatch.setattr("chats.tools.oauth.wire.HTTP_SECONDS", 1)
    issuer.order(path, fault)
    assert is_refused(me.post(f"/tools/{server.pk}/sign-in/"))


def test_who_is_sent_to_another_than_the_issuer_is_warned(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    issuer.metadata = {"authorization_endpoint": "https://login.example.com/authorize?tenant=1"}
    page = me.post(f"/tools/{server.pk}/sign-in/")
    assert "Continue to login.example.com" in page.text
    assert "is given to 127.0.0.1" in page.text
    assert onward(page).startswith("https://login.example.com/authorize?tenant=1&response_type=code&")


def test_people_who_wait_for_slow_servers_hold_up_nobody(
    me: Browser, server: McpServer, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chats.tools.oauth.wire.HTTP_SECONDS", 6)
    answers = [issuer.allow(me.begin(server)) for _ in range(6)]
    for place in (METADATA, "/token"):
        issuer.order(place, Fault(hang=True))
    before = len(issuer.requests)
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(me.get, answer) for answer in answers]
        waiting += [pool.submit(me.post, f"/tools/{server.pk}/sign-in/") for _ in range(6)]
        wait_until(lambda: len(issuer.requests) >= before + 12, seconds=10, what="all of them wait")
        assert me.get("/settings/").status_code == 200
        assert not any(one.done() for one in waiting)
        assert {one.result().status_code for one in waiting} == {400}


def test_what_is_entered_is_checked(me: Browser, server: McpServer) -> None:
    for form in ({"client_id": "x" * 501}, {"client_id": "ä"}, {"client_secret": "alone"}):
        assert me.post(f"/tools/{server.pk}/sign-in/", **form).status_code == 400


# ---------------------------------------------------------------- whose it is, and out again


def test_each_person_signs_in_to_a_shared_server_for_themselves(
    me: Browser,
    server: McpServer,
    mcp: FakeMcpServer,
    issuer: FakeIssuer,
    *,
    browse: Callable[[User], Browser],
    stranger: User,
    owner: User,
) -> None:
    McpServer.objects.filter(pk=server.pk).update(user=None)
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    theirs = mcp.requests[-1].headers["authorization"]
    mcp.tools = [FakeTool("other", "Of somebody else")]
    assert browse(stranger).get(issuer.allow(browse(stranger).begin(server))).status_code == 400
    visitor = browse(stranger)
    assert visitor.get(issuer.allow(visitor.begin(server))).status_code == 302
    assert mcp.requests[-1].headers["authorization"] != theirs
    assert set(Credential.objects.values_list("user", flat=True)) == {owner.pk, stranger.pk}
    # What one of them does not see is not gone for the others.
    assert set(Tool.objects.filter(server=server, is_listed=True).values_list("name", flat=True)) == {"read", "other"}


def test_the_page_of_a_shared_server_leads_in_and_out(
    server: McpServer, issuer: FakeIssuer, browse: Callable[[User], Browser], stranger: User
) -> None:
    McpServer.objects.filter(pk=server.pk).update(user=None)
    look_now(server.pk, seconds=10)
    visitor, way_in = browse(stranger), f'href="/tools/{server.pk}/sign-in/"'
    page = visitor.get(f"/tools/{server.pk}/").text
    assert way_in in page
    assert "wants you to sign in" in page
    assert "wants you to sign in" in visitor.get("/tools/").text
    assert visitor.get(issuer.allow(visitor.begin(server))).status_code == 302
    page = visitor.get(f"/tools/{server.pk}/").text
    assert way_in not in page
    assert "Sign out of it" in page
    # The operator, who looks without having signed in, takes nothing from those who have.
    look_now(server.pk, seconds=10)
    assert visitor.get(f"/tools/{server.pk}/").text.count("Ready") == 1
    visitor.post(f"/tools/{server.pk}/sign-out/")
    assert way_in in visitor.get(f"/tools/{server.pk}/").text


def test_a_shared_server_that_moves_has_nobody_signed_in(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    McpServer.objects.filter(pk=server.pk).update(user=None)
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    me.begin(server)
    server.refresh_from_db()
    server.url = "https://elsewhere.example/mcp"
    save_shared_server(server, changed=["url"])
    server.refresh_from_db()
    assert not Credential.objects.exists()
    assert not SignIn.objects.exists()
    assert not server.asks_sign_in


def test_nobody_signs_in_to_a_server_of_another(
    server: McpServer, browse: Callable[[User], Browser], stranger: User
) -> None:
    browser = browse(stranger)
    for path in ("sign-in", "sign-out"):
        assert browser.post(f"/tools/{server.pk}/{path}/").status_code == 404
    assert browser.get(f"/tools/{server.pk}/sign-in/").status_code == 404


@pytest.mark.parametrize("fault", [Fault(), Fault(status=500), Fault(hang=True), Fault(drop=True)])
def test_who_signs_out_is_forgotten_whatever_the_issuer_says(
    me: Browser, server: McpServer, issuer: FakeIssuer, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    monkeypatch.setattr("chats.tools.oauth.wire.HTTP_SECONDS", 1)
    issuer.order("/revoke", fault)
    out = me.post(f"/tools/{server.pk}/sign-out/")
    assert (out.status_code, out.headers["Location"]) == (302, f"/tools/{server.pk}/")
    assert not Credential.objects.exists()
    (told,) = issuer.asked("/revoke")
    assert told["token"].startswith("refresh-")
    assert not issuer.refresh_tokens
    assert me.post(f"/tools/{server.pk}/sign-out/").status_code == 302


def test_another_host_is_another_server_and_has_no_token(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    assert me.get(issuer.allow(me.begin(server))).status_code == 302
    me.begin(server)
    server.refresh_from_db()
    update_server(server, url=f"{server.url}/elsewhere")
    assert Credential.objects.exists()
    update_server(server, url="https://elsewhere.example/mcp")
    assert not Credential.objects.exists()
    assert not SignIn.objects.exists()


def test_no_secret_is_shown_or_logged(
    me: Browser, server: McpServer, issuer: FakeIssuer, owner: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    page = me.post(f"/tools/{server.pk}/sign-in/")
    answer = issuer.allow(onward(page))
    seen = [me.get(answer).text, me.get(answer).text]
    client = Client()
    client.force_login(owner)
    seen += [client.get(f"/api/v1/mcp-servers/{path}").content.decode() for path in ("", f"{server.pk}/")]
    rows = [*Credential.objects.values(), *SignIn.objects.values()]
    hidden = issuer.secrets() | {parse_qs(urlsplit(answer).query)["state"][0]}
    assert len(hidden) >= 5
    form = logs.logging_config(level="DEBUG", log_format="json", file=None)["formatters"]["json"]
    write = form.pop("()")(**form)
    # The test's own client, whose requests are not ours to log, writes in this process too.
    logged = "".join(write.format(line) for line in caplog.records if not line.name.startswith("urllib3"))
    assert '"GET /tools/oauth/callback/"' in logged
    for secret in hidden:
        assert secret not in "".join(seen)
        assert secret not in logged
        assert secret not in str([{**row, "secrets": ""} for row in rows])


def test_what_is_kept_is_encrypted(me: Browser, server: McpServer, issuer: FakeIssuer) -> None:
    from django.db import connection  # noqa: PLC0415 - past the model, which decrypts

    me.get(issuer.allow(me.begin(server)))
    me.begin(server)
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM tools_credential UNION ALL SELECT secrets FROM tools_signin")
        kept = [row[0] for row in cursor.fetchall()]
    assert len(kept) == 3
    assert not any("token" in text or "verifier" in text for text in kept)
