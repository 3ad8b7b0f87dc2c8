"""Tokens of servers: refreshed before they end, by one at a time, and never lost to somebody else's failure."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chats.llm.tests.fake_provider import Script
from chats.replies.database import in_database
from chats.replies.servers import look_now
from chats.replies.tests.stage import Stage, calling, ended, path
from chats.tools.errors import ServerUnreachable, SignInNeeded
from chats.tools.models import Credential, McpServer, Tool
from chats.tools.oauth import rows
from chats.tools.oauth.tokens import bearer_for, signed
from chats.tools.oauth.values import Bearer, Client, Grant, Issuer
from chats.tools.services import add_server
from chats.tools.tests.fake_behaviour import Fault, redirect
from chats.tools.tests.fake_issuer import FakeIssuer
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool
from chats.tools.values import Endpoint
from config.tests.live import wait_until
from config.tests.threads import in_thread

READ = FakeTool("look_up", "Looks something up", annotations={"readOnlyHint": True}, run="Found")


def signed_in(server: McpServer, user: User, issuer: FakeIssuer, **changed: Any) -> Credential:
    """As after a sign-in, whose token is over by now unless it is said otherwise."""
    issuer.clients["c"] = {"client_id": "c", "client_secret": "client-secret"}
    issuer.tokens.add("access-first")
    issuer.refresh_tokens.add("refresh-first")
    issuer.issued |= {"access-first", "refresh-first"}
    said = issuer.said()
    grant = Grant(
        issuer=Issuer(said["issuer"], said["authorization_endpoint"], said["token_endpoint"]),
        client=Client(said["issuer"], "c", "client-secret", "client_secret_basic"),
        resource=issuer.resource,
        access_token="access-first",
        refresh_token="refresh-first",
    )
    now = timezone.now()
    grant = replace(grant, **changed.pop("grant", {}))
    fields = {"secrets": grant.pack(), "issued_at": now - timedelta(hours=1), "expires_at": now, **changed}
    return Credential.objects.create(
        server=server, user=user, origin=rows._origin(server), scope="files:read", **fields
    )


@pytest.fixture
def server(transactional_db: None, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer, settings: Any) -> McpServer:
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
    mcp.tools = [READ]
    issuer.protect(mcp)
    return add_server(owner, name="Fake", url=mcp.url, headers={})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chats.tools.oauth.wire.HTTP_SECONDS", 1)


def bearer(server: McpServer, *, refused: int = 0) -> Bearer | None:
    assert server.user_id is not None
    return asyncio.run(bearer_for(in_database, server.pk, server.user_id, refused=refused))


def at_once(server: McpServer, count: int, *, refused: int = 0) -> list[Any]:
    """What so many get who ask at once."""

    async def ask() -> list[Any]:
        asks = [bearer_for(in_database, server.pk, server.user_id, refused=refused) for _ in range(count)]
        return await asyncio.gather(*asks, return_exceptions=True)

    return asyncio.run(ask())


# ---------------------------------------------------------------- one refresh


def test_who_has_not_signed_in_has_no_token(server: McpServer) -> None:
    assert bearer(server) is None


def test_a_token_that_lasts_is_used_as_it_is(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    signed_in(server, owner, issuer, expires_at=timezone.now() + timedelta(minutes=5))
    assert bearer(server).token == "access-first"
    assert not issuer.refreshes()


@pytest.mark.parametrize("left", [-3_600, 0, 30])
def test_a_token_is_refreshed_before_it_ends(server: McpServer, owner: User, issuer: FakeIssuer, left: int) -> None:
    signed_in(server, owner, issuer, expires_at=timezone.now() + timedelta(seconds=left))
    found = bearer(server)
    assert found.token in issuer.tokens - {"access-first"}
    (asked,) = issuer.refreshes()
    assert (asked["refresh_token"], asked["resource"]) == ("refresh-first", issuer.resource)
    row = Credential.objects.get()
    assert (row.version, row.refreshing_until, row.scope) == (2, None, "files:read")
    assert row.grant.refresh_token in issuer.refresh_tokens
    assert bearer(server).token == found.token
    assert len(issuer.refreshes()) == 1


def test_a_refresh_token_that_is_not_replaced_stays(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    issuer.rotates = False
    signed_in(server, owner, issuer)
    bearer(server)
    assert Credential.objects.get().grant.refresh_token == "refresh-first"


def test_tokens_of_a_short_life_are_not_refreshed_at_every_look(
    server: McpServer, owner: User, issuer: FakeIssuer
) -> None:
    issuer.token_seconds = 20
    signed_in(server, owner, issuer)
    for _ in range(3):
        assert bearer(server).token in issuer.tokens
    assert len(issuer.refreshes()) == 1


@pytest.mark.parametrize("refused", [0, 1])
def test_twenty_at_once_refresh_once(server: McpServer, owner: User, issuer: FakeIssuer, refused: int) -> None:
    expires_at = timezone.now() + timedelta(hours=1 if refused else -1)
    signed_in(server, owner, issuer, expires_at=expires_at)
    issuer.order("/token", Fault(write_bytes=50, write_seconds=0.05))
    found = at_once(server, 20, refused=refused)
    assert len({each.token for each in found}) == 1
    assert found[0].version == 2
    assert len(issuer.refreshes()) == 1


def test_who_comes_while_it_still_holds_need_not_wait(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    signed_in(
        server,
        owner,
        issuer,
        expires_at=timezone.now() + timedelta(seconds=20),
        refreshing_until=timezone.now() + timedelta(seconds=30),
    )
    assert bearer(server).token == "access-first"
    assert not issuer.refreshes()


def test_several_threads_with_loops_of_their_own_refresh_once(
    server: McpServer, owner: User, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer)
    issuer.order("/token", Fault(write_bytes=50, write_seconds=0.05))
    found: list[Bearer | None] = []
    threads = [threading.Thread(target=lambda: found.append(bearer(server))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 6
    assert len({each.token for each in found}) == 1
    assert len(issuer.refreshes()) == 1


OTHER = """
import asyncio, sys
import django
from django.conf import settings
django.setup()
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from django.db import connections
connections["default"].settings_dict["NAME"] = sys.argv[1]
settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1"]
settings.ENCRYPTION_KEYS = [sys.argv[4]]
from uuid import UUID
from chats.replies.database import in_database
from chats.tools.oauth.tokens import bearer_for
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(bearer_for(in_database, UUID(sys.argv[2]), UUID(sys.argv[3]))).token, flush=True)
"""


def test_two_processes_refresh_once(server: McpServer, owner: User, issuer: FakeIssuer, settings: Any) -> None:
    from django.db import connection  # noqa: PLC0415 - its name is that of the test database

    signed_in(server, owner, issuer)
    issuer.order("/token", Fault(write_bytes=50, write_seconds=0.1))
    name, key = str(connection.settings_dict["NAME"]), settings.ENCRYPTION_KEYS[0]
    command = [sys.executable, "-c", OTHER, name, str(server.pk), str(owner.pk), key]
    others = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for other in others:
        assert other.stdout.readline() == "ready\n", other.stderr.read()
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    outputs = [other.communicate(timeout=40) for other in others]
    said = {out.strip() for out, _ in outputs}
    assert said == {Credential.objects.get().grant.access_token}, outputs
    assert len(issuer.refreshes()) == 1


def test_the_lease_of_somebody_who_died_ends(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    signed_in(server, owner, issuer, refreshing_until=timezone.now() + timedelta(seconds=0.5))
    assert bearer(server).version == 2
    assert len(issuer.refreshes()) == 1


def test_what_was_refreshed_is_stored_though_nobody_waits_any_more(
    server: McpServer, owner: User, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer)
    issuer.order("/token", Fault(write_bytes=50, write_seconds=0.05))

    async def leave_early() -> None:
        task = asyncio.create_task(bearer_for(in_database, server.pk, owner.pk))
        await asyncio.to_thread(wait_until, issuer.refreshes, seconds=10, what="the issuer is asked")
        task.cancel()
        is_stored = lambda: Credential.objects.get().version == 2  # noqa: E731
        await in_thread(wait_until, is_stored, seconds=10, what="what was refreshed is stored")

    asyncio.run(leave_early())
    row = Credential.objects.get()
    assert (row.version, row.refreshing_until) == (2, None)
    assert row.grant.refresh_token in issuer.refresh_tokens


# ---------------------------------------------------------------- no refresh


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("reason", ["invalid_grant", "invalid_client", "unauthorized_client"])
def test_a_refused_refresh_is_the_end_of_a_sign_in(
    server: McpServer, owner: User, issuer: FakeIssuer, status: int, reason: str
) -> None:
    signed_in(server, owner, issuer)
    issuer.order("/token", Fault(status=status, body={"error": reason, "error_description": "canary"}))
    for failure in at_once(server, 5):
        assert isinstance(failure, SignInNeeded)
        assert "Sign in again" in failure.message
        assert "canary" not in failure.message
    assert len(issuer.refreshes()) == 1
    row = Credential.objects.get()
    assert (row.grant.access_token, row.grant.refresh_token) == ("", "")
    assert bool(row.grant.client.client_id) is (reason == "invalid_grant")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body={"error": "invalid_grant"}),
        Fault(status=429, body=""),
        Fault(status=400, body={"error": "temporarily_unavailable"}),
        Fault(body=b"<h1>Welcome</h1>"),
        redirect("http://127.0.0.1:9/token"),
        Fault(drop=True),
        Fault(hang=True),
    ],
    ids=lambda fault: str(fault)[:60],
)
def test_a_failure_on_the_way_takes_nothing_away(
    server: McpServer, owner: User, issuer: FakeIssuer, fault: Fault, quick: None
) -> None:
    signed_in(server, owner, issuer)
    issuer.rotates = False
    issuer.order("/token", fault)
    failures = at_once(server, 5)
    assert {type(failure) for failure in failures} == {ServerUnreachable}
    assert len(issuer.refreshes()) == 1
    issuer.order("/token", Fault())
    assert bearer(server).version == 2


@pytest.mark.parametrize("note", ["failed", "refused"])
def test_who_has_read_before_a_refresh_ended_in_vain_does_not_begin_another(
    server: McpServer, owner: User, issuer: FakeIssuer, note: str
) -> None:
    read = signed_in(server, owner, issuer)
    assert rows.take_turn(server.pk, owner.pk, 0, timezone.now()).grant is not None
    if note == "failed":
        rows.note_refresh_failed(server.pk, owner.pk, 1)
    else:
        rows.note_refresh_refused(server.pk, owner.pk, 1, read.grant)
    assert rows._claim(read, timezone.now()) is False


def test_a_token_that_still_holds_is_used_when_it_can_not_be_refreshed(
    server: McpServer, owner: User, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer, expires_at=timezone.now() + timedelta(seconds=20))
    issuer.order("/token", Fault(status=503))
    assert bearer(server).token == "access-first"


def test_what_can_not_be_refreshed_ends(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    signed_in(server, owner, issuer, grant={"refresh_token": ""})
    with pytest.raises(SignInNeeded):
        bearer(server)
    assert not issuer.refreshes()


def test_a_token_is_for_the_host_where_its_person_signed_in(server: McpServer, owner: User, issuer: FakeIssuer) -> None:
    signed_in(server, owner, issuer)
    # Past the verb, as the admin does.
    McpServer.objects.filter(pk=server.pk).update(url="https://elsewhere.example/mcp")
    assert bearer(server) is None
    assert not Credential.objects.exists()
    assert not issuer.refreshes()


def test_a_token_is_shown_to_no_other_host() -> None:
    token = Bearer("access", 1, "https://one.example:443")
    assert signed(Endpoint(name="One", url="https://one.example/mcp"), token).headers == {
        "Authorization": "Bearer access"
    }
    for url in ("https://two.example/mcp", "http://one.example/mcp", "https://one.example:8443/mcp"):
        assert signed(Endpoint(name="Two", url=url), token).headers == {}


def test_a_secret_that_no_key_can_read_is_the_end_of_a_sign_in(
    server: McpServer, owner: User, issuer: FakeIssuer, settings: Any
) -> None:
    signed_in(server, owner, issuer)
    settings.ENCRYPTION_KEYS = ["another-" + "x" * 40]
    with pytest.raises(SignInNeeded):
        bearer(server)


# ---------------------------------------------------------------- looks and calls


def test_a_look_is_made_with_the_token_and_refreshes_it(
    server: McpServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    assert not look_now(server.pk, seconds=10).ok
    server.refresh_from_db()
    assert (server.status, server.asks_sign_in) == ("sign_in", True)
    assert "wants you to sign in" in server.error_message
    signed_in(server, owner, issuer, expires_at=None)
    issuer.expire()
    assert look_now(server.pk, seconds=10).ok
    server.refresh_from_db()
    assert (server.status, server.error_message) == ("ready", "")
    assert len(issuer.refreshes()) == 1


def test_a_server_that_takes_no_token_wants_its_person_to_sign_in_again(
    server: McpServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer)
    mcp.require_token(set().__contains__)
    seen = look_now(server.pk, seconds=10)
    assert (seen.ok, seen.code) == (False, "tool_server_sign_in")
    assert "Sign in again" in seen.message
    row = Credential.objects.get()
    assert row.error_message == seen.message
    # It may be the server's own fault, so nothing is thrown away.
    assert row.grant.refresh_token in issuer.refresh_tokens
    mcp.require_token(issuer.is_good)
    assert look_now(server.pk, seconds=10).ok
    row.refresh_from_db()
    assert row.error_message == ""


def test_a_server_that_misses_a_permission_is_asked_for_it_the_next_time(
    server: McpServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer)
    challenge = 'Bearer error="insufficient_scope", scope="files:write"'
    mcp.order("*", Fault(status=403, body="", headers={"WWW-Authenticate": challenge}))
    assert "sign in again" in look_now(server.pk, seconds=10).message
    assert rows.start_of(server.pk, owner.pk).scope == "files:read files:write"


def test_a_token_goes_nowhere_a_server_sends_it(
    server: McpServer, owner: User, mcp: FakeMcpServer, issuer: FakeIssuer
) -> None:
    signed_in(server, owner, issuer)
    mcp.order("/mcp", redirect(f"{issuer.url}/token?stolen"))
    assert not look_now(server.pk, seconds=10).ok
    assert not [request for request in issuer.requests if "stolen" in request.path]


@pytest.fixture
def guarded_stage(stage: Stage, issuer: FakeIssuer) -> Stage:
    """The same, of whom the server wants tokens; the owner has one."""
    issuer.protect(stage.mcp)
    signed_in(stage.server, stage.owner, issuer, expires_at=timezone.now() + timedelta(hours=1))
    return stage


def test_calls_are_made_with_the_token_of_whoever_asks(guarded_stage: Stage) -> None:
    guarded_stage.model_does(calling(("fake__look_up", {"q": 1})), Script(text="Found."))
    started = guarded_stage.ask()
    assert ended(started.reply).status == "completed"
    assert guarded_stage.mcp.calls == {"look_up": 1}
    called = guarded_stage.mcp.received("tools/call")[0]
    assert called.headers["authorization"] == "Bearer access-first"


def test_a_token_that_ends_between_two_calls_is_refreshed_and_no_call_is_made_twice(
    guarded_stage: Stage, issuer: FakeIssuer
) -> None:
    def expire(given: Any) -> str:
        if given["q"] == 1:
            issuer.expire()
        return "Found"

    guarded_stage.mcp.tools = [replace(READ, run=expire, description="Looks something up")]
    guarded_stage.model_does(
        calling(("fake__look_up", {"q": 1})),
        calling(*[("fake__look_up", {"q": n}) for n in range(2, 6)]),
        Script(text="All found."),
    )
    started = guarded_stage.ask()
    assert ended(started.reply).status == "completed"
    results = [m.content for m in path(started.chat) if m.role == "tool"]
    assert results == ["Found"] * 5
    assert sorted(given["q"] for _, given in guarded_stage.mcp.called) == [1, 2, 3, 4, 5]
    assert len(issuer.refreshes()) == 1


def test_a_call_after_a_refused_refresh_tells_model_and_person(guarded_stage: Stage, issuer: FakeIssuer) -> None:
    issuer.forget_grants()
    guarded_stage.model_does(calling(("fake__look_up", {"q": 1})), Script(text="I could not."))
    started = guarded_stage.ask()
    assert ended(started.reply).status == "completed"
    (told,) = [m.content for m in path(started.chat) if m.role == "tool"]
    assert told == "Your sign-in to Fake has ended. Sign in again on its page under Tools."
    guarded_stage.server.refresh_from_db()
    assert guarded_stage.server.status == "sign_in"
    assert guarded_stage.mcp.calls == {}
    said = json.dumps([request.body for request in guarded_stage.provider.requests])
    assert not [secret for secret in issuer.secrets() if secret in said]


def test_twenty_calls_at_once_refresh_once(guarded_stage: Stage, issuer: FakeIssuer) -> None:
    Credential.objects.update(expires_at=timezone.now())
    guarded_stage.model_does(calling(*[("fake__look_up", {"q": n}) for n in range(20)]), Script(text="All found."))
    assert ended(guarded_stage.ask().reply).status == "completed"
    assert guarded_stage.mcp.calls == {"look_up": 20}
    assert len(issuer.refreshes()) == 1


def test_one_person_without_a_sign_in_is_no_fault_of_a_shared_server(
    guarded_stage: Stage, issuer: FakeIssuer, stranger: User, api_of: Callable[[User], Any]
) -> None:
    McpServer.objects.filter(pk=guarded_stage.server.pk).update(user=None)
    guarded_stage.model_does(calling(("fake__look_up", {"q": 1})), Script(text="Done."))
    started = replace(guarded_stage, owner=stranger).ask()
    assert ended(started.reply).status == "completed"
    (told,) = [m.content for m in path(started.chat) if m.role == "tool"]
    assert told == "Fake wants you to sign in. Do so on its page under Tools."
    seen = {
        user.email: api_of(user).get(f"/api/v1/mcp-servers/{guarded_stage.server.pk}/").json()
        for user in (guarded_stage.owner, stranger)
    }
    theirs, mine = seen[stranger.email], seen[guarded_stage.owner.email]
    assert (mine["status"], mine["sign_in"]) == ("ready", {"is_needed": False, "is_signed_in": True})
    assert (theirs["status"], theirs["sign_in"]) == ("sign_in", {"is_needed": True, "is_signed_in": False})
    assert theirs["error"]["message"] == "This server wants you to sign in."
    assert Tool.objects.filter(server=guarded_stage.server, is_listed=True).count() == 2
