"""An authorization server to test against: real HTTP that speaks OAuth 2.1 and misbehaves on order.

    issuer = FakeIssuer(); issuer.start()
    issuer.protect(mcp)  # that FakeMcpServer now wants a token of this issuer, and says so
    issuer.metadata = {"code_challenge_methods_supported": None}  # None takes a field away
    issuer.order("/token", Fault(status=503), times=1)
    location = issuer.allow(authorization_url)  # what a browser is sent back to once its person has said yes
    issuer.reset()  # between tests
    issuer.stop()

It is strict where clients must be right: redirect addresses, PKCE, the resource, the client's secret, each code and
each rotated refresh token once.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from chats.llm.tests.fake_provider import Received
from chats.tools.tests.fake_behaviour import Fault, FaultyWriter
from chats.tools.tests.fake_server import FakeMcpServer

METADATA = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


class FakeIssuer:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-issuer", daemon=True)
        self._ready = threading.Event()
        self._halt = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._port = 0
        self._forget()

    # ------------------------------------------------------------ for tests
    def start(self) -> "FakeIssuer":
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._halt.set)
        self._thread.join(10)

    def reset(self) -> None:
        """As new: nobody is known, nothing is issued, nothing is ordered; answers still under way are cut."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)
        self._forget()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def order(self, path: str, fault: Fault, *, times: int | None = None) -> None:
        """From now on go wrong at this path, for so many requests, or (None) until it is ordered something else."""
        self._orders[path] = itertools.repeat(fault) if times is None else itertools.repeat(fault, times)

    def protect(self, mcp: FakeMcpServer, *, scope: str = "", **resource: Any) -> None:
        """Have a server of tools take tokens of this issuer only, and say so. `resource`: what it says otherwise."""
        self.resource = str(resource.get("resource", mcp.url))
        origin = mcp.url.removesuffix("/mcp")
        said = {"resource": mcp.url, "authorization_servers": [self.url], **resource}
        mcp.order(f"{RESOURCE}/mcp", Fault(body=said))
        asked = f', scope="{scope}"' if scope else ""
        mcp.require_token(self.is_good, challenge=f'Bearer resource_metadata="{origin}{RESOURCE}/mcp"{asked}')

    def is_good(self, token: str) -> bool:
        return token in self.tokens

    def expire(self) -> None:
        """No access token that was issued so far is good any more; refresh tokens are."""
        self.tokens.clear()

    def forget_grants(self) -> None:
        """As if each person had taken back what they have allowed."""
        self.tokens.clear()
        self.refresh_tokens.clear()

    def allow(self, url: str, **changed: str) -> str:
        """Where a browser is sent back to when its person says yes there. `changed`: of the answer's parameters."""
        asked = dict(parse_qsl(urlsplit(url).query))
        client = self.clients[asked["client_id"]]
        assert url.startswith(f"{self.url}/authorize?")
        assert asked["redirect_uri"] in client["redirect_uris"]
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["resource"] == self.resource
        self.codes[code := f"code-{uuid.uuid4().hex}"] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url, **changed}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def asked(self, path: str) -> list[Mapping[str, str]]:
        """The forms that came to this path, in order."""
        return [dict(parse_qsl(str(request.body))) for request in list(self.requests) if request.path == path]

    def refreshes(self) -> list[Mapping[str, str]]:
        return [form for form in self.asked("/token") if form.get("grant_type") == "refresh_token"]

    def secrets(self) -> set[str]:
        """All that nobody but its client may ever see."""
        forms = [*self.asked("/token"), *self.codes.values()]
        told = {form[name] for form in forms for name in ("code", "code_verifier", "refresh_token") if name in form}
        secrets = {str(client.get("client_secret") or "") for client in self.clients.values()}
        return {*told, *self.issued, *secrets} - {""}

    # ------------------------------------------------------------ the thread
    def _forget(self) -> None:
        self._orders: dict[str, Iterator[Fault]] = {}
        self.metadata: dict[str, Any] = {}  # what it says of itself otherwise; None: does not say
        self.resource = ""
        self.rotates = True  # each refresh token is good once
        self.token_seconds: int | None = 3600
        self.gives_refresh_tokens = True
        self.token_extra: dict[str, Any] = {}  # in its answers with tokens
        self.clients: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, Mapping[str, str]] = {}
        self.tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.issued: set[str] = set()  # all there ever were
        self.requests: list[Received] = []

    def said(self) -> dict[str, Any]:
        """Its metadata."""
        right = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "revocation_endpoint": f"{self.url}/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        return {name: value for name, value in {**right, **self.metadata}.items() if value is not None}

    def take_fault(self, path: str) -> Fault | None:
        return next(self._orders.get(path, iter(())), None)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._halt.wait()
        server.close()
        await self._cut_all()

    async def _cut_all(self) -> None:
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await _Answer(self, await _read(reader), FaultyWriter(writer)).send():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # cut by reset() or stop(): nobody waits for this task's end
        finally:
            self._handlers.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    is_json = headers.get("content-type", "").startswith("application/json")
    return Received(method, path, headers, json.loads(raw) if raw and is_json else raw.decode())


@dataclass
class _Answer:
    """One answer on its way."""

    issuer: FakeIssuer
    request: Received
    wire: FaultyWriter
    form: dict[str, str] = field(default_factory=dict)

    async def send(self) -> bool:
        """Returns whether the connection may be used again."""
        issuer, path = self.issuer, self.request.path.partition("?")[0]
        issuer.requests.append(self.request)
        if isinstance(self.request.body, str):
            self.form = {name: values[0] for name, values in parse_qs(self.request.body).items()}
        # What it has done already, it has done, though nobody may hear of it.
        status, body = self._answer_to(path)
        self.wire.fault = issuer.take_fault(path) or Fault()
        if self.wire.fault.is_instead:
            return await self.wire.go_wrong()
        return await self.wire.whole(status, body)

    def _answer_to(self, path: str) -> tuple[int, Mapping[str, Any]]:
        match path:
            case "/.well-known/oauth-authorization-server":
                return 200, self.issuer.said()
            case "/register":
                return self._register()
            case "/token":
                return self._token()
            case "/revoke":
                self.issuer.tokens.discard(self.form.get("token", ""))
                self.issuer.refresh_tokens.discard(self.form.get("token", ""))
                return 200, {}
        return 404, {"error": "not_found"}

    def _register(self) -> tuple[int, Mapping[str, Any]]:
        asked = dict(self.request.body)
        method = asked.get("token_endpoint_auth_method")
        client = {"client_id": f"client-{uuid.uuid4().hex[:8]}", **asked}
        if method != "none":
            client["client_secret"] = f"secret-{uuid.uuid4().hex}"
        self.issuer.clients[client["client_id"]] = client
        return 201, client

    def _token(self) -> tuple[int, Mapping[str, Any]]:
        issuer, form = self.issuer, self.form
        if not self._is_client():
            return 401, {"error": "invalid_client", "error_description": f"Not {form}"}
        if form.get("resource") != issuer.resource:
            return 400, {"error": "invalid_target"}
        if form.get("grant_type") == "authorization_code":
            asked = issuer.codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
                return 400, {"error": "invalid_grant", "error_description": f"Not {form}"}
            return 200, self._issued()
        if form.get("refresh_token") not in issuer.refresh_tokens:
            return 400, {"error": "invalid_grant", "error_description": f"Not {form}"}
        if issuer.rotates:
            issuer.refresh_tokens.discard(form["refresh_token"])
        return 200, self._issued()

    def _issued(self) -> dict[str, Any]:
        issuer = self.issuer
        answer: dict[str, Any] = {"access_token": f"access-{uuid.uuid4().hex}", "token_type": "Bearer"}
        if issuer.token_seconds is not None:
            answer["expires_in"] = issuer.token_seconds
        if issuer.gives_refresh_tokens and (issuer.rotates or self.form.get("grant_type") == "authorization_code"):
            answer["refresh_token"] = f"refresh-{uuid.uuid4().hex}"
            issuer.refresh_tokens.add(answer["refresh_token"])
        answer |= issuer.token_extra
        issuer.tokens.add(answer["access_token"])
        issuer.issued |= {answer["access_token"], answer.get("refresh_token", "")}
        return answer

    def _is_client(self) -> bool:
        client = self.issuer.clients.get(self.form.get("client_id", ""))
        if client is None:
            return False
        shown = self.form.get("client_secret")
        kind, _, encoded = self.request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            name, _, shown = base64.b64decode(encoded).decode().partition(":")
            if unquote(name) != client["client_id"]:
                return False
            shown = unquote(shown)
        return shown == client.get("client_secret")
