"""Who comes in at /mcp, and what is made of whatever else is sent there."""

import json

import httpx2
import pytest
from django.core.cache import cache
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from accounts import issuer_keys
from accounts.models import ApiKey
from accounts.services import create_api_key, revoke_api_key
from accounts.tests.issuer import CLIENT, Issuer
from config.tests.threads import in_thread

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


async def refused(agent, body, **headers):
    """Status and code of a refusal, which is an error of JSON-RPC."""
    async with agent.post(body, **headers) as response:
        error = response.json()["error"]
        assert response.json()["jsonrpc"] == "2.0"
        assert response.headers["Cache-Control"] == "no-store"
        return response.status_code, error["data"]["code"]


@pytest.mark.parametrize("address", ["/mcp", "/mcp/"])
async def test_both_ways_to_write_the_address_lead_here(agent, live, address):
    agent.url = live.base_url + address
    async with agent.post(PING) as response:
        assert (response.status_code, response.json()) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
        assert response.headers["X-Request-ID"]


@pytest.mark.parametrize("credential", ["", "Bearer", "Bearer parley_nobody", "Bearer x.y.z", "Basic b3duZXI6eA=="])
async def test_nobody_unknown_gets_in_and_is_told_how(agent, credential):
    async with agent.post(PING, Authorization=credential) as response:
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="mcp"'
        assert response.json()["error"]["data"]["code"] == "unauthenticated"


@pytest.fixture(scope="module")
def issuer_server():
    server = Issuer()
    yield server
    server.close()


@pytest.fixture
def issuer(issuer_server, live, settings):
    issuer_server.reset()
    issuer_keys._client.cache_clear()
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_IDS = issuer_server.url, [CLIENT]
    return issuer_server


async def test_a_token_of_the_configured_issuer_is_a_credential_too(agent, issuer):
    agent.secret = issuer.token()
    assert (await agent.found("search_chats", query="anything"))["chats"] == []
    issuer_keys._client.cache_clear()
    issuer.answer = (500, {}, b"")
    async with agent.post(PING) as response:
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert response.json()["error"]["data"]["code"] == "issuer_unavailable"


async def test_the_session_of_a_browser_is_nobody_here(live, agent, owner, session_of):
    cookie = f"sessionid={await in_thread(session_of, owner)}"
    async with httpx2.AsyncClient() as http:
        response = await http.post(agent.url, json=PING, headers={"Cookie": cookie, "Origin": live.base_url})
    assert response.status_code == 401


async def test_a_revoked_key_is_nobody(agent):
    await in_thread(revoke_api_key, agent.key)
    assert await refused(agent, PING) == (401, "unauthenticated")


async def test_pages_of_other_sites_may_not_come_in_even_with_a_key(agent, live, settings):
    settings.CORS_ALLOWED_ORIGINS = settings.CSRF_TRUSTED_ORIGINS = ["https://app.example.org"]
    for origin in ("https://evil.example.org", "null", "https://app.example.org", f"{live.base_url}.evil.example.org"):
        assert await refused(agent, PING, Origin=origin) == (403, "forbidden")
    async with agent.post(PING, Origin=live.base_url) as response:
        assert response.status_code == 200
        assert "Access-Control-Allow-Origin" not in response.headers
    settings.FRONTEND_HOST = "https://chat.example.org"
    async with agent.post(PING, Origin="https://chat.example.org") as response:
        assert response.status_code == 200
    async with httpx2.AsyncClient() as http:
        asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
        preflight = await http.options(agent.url, headers=asked)
    assert preflight.status_code in {401, 403}
    assert "Access-Control-Allow-Origin" not in preflight.headers


async def test_requests_count_with_those_over_the_api(agent, settings, api_of, owner):
    settings.API_REQUESTS_PER_MINUTE_PER_USER = 2
    api = await in_thread(api_of, owner)
    assert (await in_thread(api.get, "/api/v1/me/")).status_code == 200
    async with agent.post(PING) as response:
        assert response.status_code == 200
    async with agent.post(PING) as response:
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) >= 1


async def test_guessing_keys_uses_up_the_allowance_of_the_peer(agent, settings):
    settings.API_REQUESTS_PER_MINUTE_PER_PEER = 2
    for _ in range(2):
        assert await refused(agent, PING, Authorization="Bearer parley_guess") == (401, "unauthenticated")
    assert await refused(agent, PING, Authorization="Bearer parley_guess") == (429, "too_many")
    async with agent.post(PING) as response:
        assert response.status_code == 200


@pytest.mark.parametrize("verb", ["GET", "DELETE", "PUT", "HEAD"])
async def test_there_is_nothing_to_listen_to_and_no_session_to_end(agent, verb):
    async with agent.http as http:
        response = await http.request(verb, agent.url, headers={"Accept": "text/event-stream"})
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "rpc_code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"id": NaN}', -32700),
        (b'{"id": 1, "id": 2}', -32700),
        (b"[" * 100_000, -32700),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, -32600),
        (b"3", -32600),
        ([PING, PING], -32600),
        ([], -32600),
        ({}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 7}, -32600),
        ({**PING, "params": {str(n): n for n in range(1_001)}}, -32600),
    ],
)
async def test_what_is_no_message_is_refused(agent, body, rpc_code):
    async with agent.post(body) as response:
        assert response.status_code == 400
        assert response.json()["error"]["code"] == rpc_code
        assert response.json()["id"] is None


async def test_a_body_that_is_too_large_is_refused(agent, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    assert await refused(agent, {**PING, "params": {"x": "y" * 10_000}}) == (413, "too_large")


async def test_only_json_is_read(agent):
    assert await refused(agent, PING, **{"Content-Type": "text/plain"}) == (400, "invalid")


async def test_notifications_are_taken_and_answered_by_nothing(agent):
    for method in ("notifications/initialized", "notifications/cancelled", "notifications/whatever"):
        async with agent.post({"jsonrpc": "2.0", "method": method}) as response:
            assert (response.status_code, response.content) == (202, b"")


async def test_a_client_gets_a_name_with_the_handshake_and_nothing_is_kept_under_it(agent):
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    async with agent.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}) as response:
        result, session = response.json()["result"], response.headers["Mcp-Session-Id"]
    assert result["protocolVersion"] == "2025-06-18"
    assert list(result["capabilities"]) == ["tools"] or result["capabilities"]["tools"] is not None
    for name in (session, "one-that-nobody-gave", ""):
        async with agent.post(LIST, **({"Mcp-Session-Id": name} if name else {})) as response:
            assert len(response.json()["result"]["tools"]) == 5


async def test_unknown_methods_tools_and_versions_are_errors_of_the_protocol(any_agent):
    async with any_agent.connect() as client:
        with pytest.raises(MCPError) as error:
            await client.call_tool("delete_everything", {})
        assert error.value.code == -32602
        assert "delete_everything" in error.value.message
    async with any_agent.post({**PING, "method": "resources/list"}) as response:
        assert response.json()["error"]["code"] == -32601
    async with any_agent.post(PING, **{"MCP-Protocol-Version": "1999-01-01"}) as response:
        assert response.status_code == 400
        assert response.json()["error"]["code"]


async def test_a_client_that_wants_no_stream_gets_one_answer(agent, openai_model):
    params = {"name": "ask_model", "arguments": {"message": "Hi", "model": "Fake model"}, "_meta": {"progressToken": 1}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with agent.post(body, Accept="application/json") as response:
        assert response.headers["Content-Type"] == "application/json"
        assert response.json()["result"]["structuredContent"]["text"] == "Echo: Hi"
    async with agent.post(body) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
METHODS = st.sampled_from(
    ["initialize", "ping", "tools/list", "tools/call", "server/discover", "logging/setLevel", "subscriptions/listen"]
)
TOOL_NAMES = st.sampled_from(["search_chats", "get_chat", "search_documents", "list_models", "ask_model"])
PARAMS = ANYTHING | st.fixed_dictionaries(
    {},
    optional={
        "name": TOOL_NAMES | ANYTHING,
        "arguments": ANYTHING,
        "_meta": ANYTHING,
        "protocolVersion": ANYTHING,
        "cursor": ANYTHING,
    },
)
MESSAGES = st.fixed_dictionaries(
    {"method": METHODS | ANYTHING, "id": st.integers() | ANYTHING},
    optional={"jsonrpc": st.just("2.0") | ANYTHING, "params": PARAMS},
)
VERSIONS = st.sampled_from([None, "2025-06-18", "2025-11-25", "2026-07-28", "2099-01-01", "x", ""])
ACCEPTS = st.sampled_from(["application/json, text/event-stream", "application/json", "*/*", "text/html", ""])


@given(body=MESSAGES | ANYTHING, version=VERSIONS, accept=ACCEPTS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_sent_is_a_failure_of_the_server(agent, body, version, accept):
    cache.clear()  # its limits are not the point
    headers = {"Accept": accept, "Content-Type": "application/json", "Authorization": f"Bearer {agent.secret}"}
    if version is not None:
        headers["MCP-Protocol-Version"] = version
    response = httpx2.post(agent.url, content=json.dumps(body).encode(), headers=headers, timeout=10)
    assert response.status_code < 500


async def test_the_key_is_noted_as_used(agent, owner):
    async with agent.post(PING):
        pass
    assert (await in_thread(ApiKey.objects.get, pk=agent.key.pk)).last_used_at
    _, other = await in_thread(create_api_key, owner, name="Other")
    async with agent.post(PING, Authorization=f"bearer {other}") as response:
        assert response.status_code == 200
