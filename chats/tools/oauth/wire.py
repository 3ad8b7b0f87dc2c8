"""Talks to authorization servers. The only module here that knows `mcp`: its models, and what it reads of metadata.

Loaded on first use, off the event loop (`chats.tools.oauth.tokens.wire_module`). Everything goes through the guard, is
given HTTP_SECONDS and ANSWER_MAX_BYTES, and no redirect is followed: what an issuer is told is a secret. Of what it
answers only the code of an error reaches people: its other words may repeat what it was told.
"""

import base64
import re
from asyncio import timeout
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import orjson
from mcp.client.auth.exceptions import OAuthRegistrationError
from mcp.client.auth.oauth2 import PKCEParameters, check_registration_usable
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    create_client_registration_request,
    create_oauth_metadata_request,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    handle_registration_response,
    issuers_match,
    union_scopes,
)
from mcp.shared.auth import OAuthClientMetadata, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import BaseModel, ValidationError

from accounts.outbound import URL_MAX_LENGTH, AddressDenied
from chats.tools.addresses import check_secure_url, sign_in_policy
from chats.tools.errors import IssuerRefused, ServerNonsense, ServerSilent, ServerUnreachable, ToolServerError
from chats.tools.oauth.values import SCOPE_MAX_CHARACTERS, Client, Grant, Issuer, Pending, Plan, Tokens
from chats.tools.transport import GuardedTransport, compression_in
from chats.tools.values import Endpoint

M = TypeVar("M", bound=BaseModel)

HTTP_SECONDS = 10
ANSWER_MAX_BYTES = 262_144
TOKEN_MAX_CHARACTERS = 16_000
CLIENT_MAX_CHARACTERS = 2_000
HOST_MAX_CHARACTERS = 253
GRANTS = ["authorization_code", "refresh_token"]
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_REASON = re.compile(r"[a-z_]{1,40}")
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
# A question that every server answers without beginning anything, also with 401.
_PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def discover(endpoint: Endpoint, *, scope: str = "", trusted_host: str = "") -> Plan:
    """How one signs in to a server, `scope` being allowed beside what it asks for. Raises ToolServerError.

    `trusted_host`: that of a server of the operator's, which alone may be in their network without being named.
    """
    async with _asking(trusted_host=trusted_host) as asker:
        asker.check(endpoint.url, of=endpoint.name)
        challenge = await asker.challenge(endpoint)
        resource = await _resource_of(asker, endpoint, challenge)
        metadata = await _metadata_of(asker, endpoint, resource)
        issuer = _checked(asker, metadata)
    wanted = union_scopes(scope, _scope_of(challenge, resource, metadata)) or ""
    if wanted and (len(wanted) > SCOPE_MAX_CHARACTERS or not _SCOPE.fullmatch(wanted)):
        raise ServerNonsense(f"{endpoint.name} asks for permissions that make no sense.")
    return Plan(issuer, _resource_name(endpoint, resource), wanted)


async def register(plan: Plan, *, redirect_uri: str, trusted_host: str) -> Client:
    """Have an issuer know Parley as a new client (RFC 7591). Raises ToolServerError."""
    issuer, host = plan.issuer, _host(plan.issuer.issuer)
    if not issuer.registration_endpoint:
        raise IssuerRefused(
            f"{host} lets no program register by itself. Register Parley there, and enter its client id."
        )
    is_local = _host(redirect_uri) in {"localhost", "127.0.0.1", "::1"}
    metadata = OAuthClientMetadata(
        redirect_uris=[redirect_uri],  # type: ignore[list-item] # pydantic reads it
        token_endpoint_auth_method=_method_for(issuer, has_secret=True),  # type: ignore[arg-type] # one of the three
        grant_types=GRANTS,
        client_name="Parley",
        scope=plan.scope or None,
        application_type="native" if is_local else "web",
    )
    request = create_client_registration_request(_registration_at(issuer), metadata, issuer.issuer)
    async with _asking(trusted_host=trusted_host) as asker:
        response = await asker.send(request)
    if response.status_code not in {200, 201}:
        raise _refusal(response, f"{host} did not register Parley")
    try:
        known = await handle_registration_response(response)
        check_registration_usable(known)
    except OAuthRegistrationError:
        raise ServerNonsense(
            f"{host} registered Parley in a way that can't be used. Enter a client id instead."
        ) from None
    for text in (known.client_id, known.client_secret or "x"):
        if len(text) > CLIENT_MAX_CHARACTERS or not text.isascii() or not text.isprintable():
            raise ServerNonsense(f"{host} registered Parley under a name that makes no sense.")
    method = known.token_endpoint_auth_method or ("client_secret_basic" if known.client_secret else "none")
    return Client(
        issuer=issuer.issuer,
        client_id=known.client_id,
        client_secret=known.client_secret or "",
        auth_method=method,
        redirect_uri=redirect_uri,
        is_registered=True,
    )


def entered_client(plan: Plan, client_id: str, client_secret: str, *, redirect_uri: str) -> Client:
    """The client that a person has registered at the issuer themselves."""
    method = _method_for(plan.issuer, has_secret=bool(client_secret))
    return Client(plan.issuer.issuer, client_id, client_secret, method, redirect_uri)


def send_away(plan: Plan, client: Client, *, state: str, origin: str) -> tuple[str, Pending]:
    """The address at which a person says yes or no, and what is to be remembered until they come back."""
    pkce = PKCEParameters.generate()
    parameters = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": state,
        "code_challenge": pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": plan.resource,
    }
    if plan.scope:
        parameters["scope"] = plan.scope
    if "offline_access" in plan.scope.split():
        # OpenID Connect gives a refresh token to nobody who was not asked for it.
        parameters["prompt"] = "consent"
    address = plan.issuer.authorization_endpoint
    joint = "&" if urlsplit(address).query else "?"
    return f"{address}{joint}{urlencode(parameters)}", Pending(origin, plan, client, pkce.code_verifier)


async def exchange(pending: Pending, code: str, *, trusted_host: str) -> Tokens:
    """The tokens for a code. Raises ToolServerError."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": pending.client.redirect_uri,
        "code_verifier": pending.verifier,
        "resource": pending.plan.resource,
    }
    return await _tokens_for(pending.plan.issuer, pending.client, form, trusted_host=trusted_host)


async def refresh(grant: Grant, *, trusted_host: str) -> Tokens:
    """The tokens that follow those of `grant`. Raises ToolServerError."""
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token, "resource": grant.resource}
    return await _tokens_for(grant.issuer, grant.client, form, trusted_host=trusted_host)


async def revoke(grant: Grant, *, trusted_host: str) -> None:
    """Tell an issuer that nobody needs these tokens any more, if it wants to know. Raises ToolServerError."""
    token, hint = (
        (grant.refresh_token, "refresh_token") if grant.refresh_token else (grant.access_token, "access_token")
    )
    if grant.issuer.revocation_endpoint and token:
        form = {"token": token, "token_type_hint": hint}
        async with _asking(trusted_host=trusted_host) as asker:
            await asker.post(grant.issuer.revocation_endpoint, grant.client, form)


class _Asker:
    """Sends requests through the guard."""

    def __init__(self, transport: GuardedTransport, *, trusted_host: str) -> None:
        self._transport, self._trusted_host = transport, trusted_host

    def check(self, url: str, *, of: str) -> str:
        """`url`, to which secrets may go. Raises ServerUnreachable."""
        try:
            return check_secure_url(url, trusted_host=self._trusted_host)
        except AddressDenied as error:
            raise ServerUnreachable(f"{of} can't be signed in to: {error}") from None

    async def challenge(self, endpoint: Endpoint) -> httpx2.Response:
        """What a server answers to somebody who has not signed in. Its body is not read: it may have no end."""
        headers = {**endpoint.headers, "Accept": "application/json, text/event-stream"}
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        request = httpx2.Request("POST", endpoint.url, headers=headers, json=_PING)
        return await self.send(request, reads=False)

    async def get(self, url: str, model: type[M], *, of: str) -> M | None:
        """A document of metadata; None where there is none that can be read."""
        response = await self.send(create_oauth_metadata_request(self.check(url, of=of)))
        if response.status_code == 429 or response.status_code >= 500:
            # It says nothing about whether there is one, and so is no reason to look for another.
            raise ServerUnreachable(f"{_host(url)} answered with an error ({response.status_code}). Try again later.")
        try:
            return model.model_validate_json(response.content) if response.status_code == 200 else None
        except ValidationError:
            return None

    async def post(self, url: str, client: Client, form: Mapping[str, str]) -> httpx2.Response:
        """The answer to a form of a client that says who it is (RFC 6749, section 2.3.1)."""
        form, headers = {**form, "client_id": client.client_id}, dict(_FORM)
        if client.auth_method == "client_secret_basic":
            pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif client.auth_method == "client_secret_post":
            form["client_secret"] = client.client_secret
        return await self.send(httpx2.Request("POST", url, data=form, headers=headers))

    async def send(self, request: httpx2.Request, *, reads: bool = True) -> httpx2.Response:
        host = request.url.host
        try:
            async with timeout(HTTP_SECONDS):
                response = await self._transport.handle_async_request(request)
                if reads or response.status_code == 502:
                    await response.aread()
                    self._raise_failure(response.text)
                else:
                    await response.aclose()
        except TimeoutError:
            raise ServerSilent(f"{host} did not answer within {HTTP_SECONDS} seconds.") from None
        except ValueError:
            # Whatever else a client of HTTP may find wrong with an address.
            raise ServerUnreachable(f"{host} can't be asked at this address.") from None
        except httpx2.StreamError as error:
            self._raise_failure(str(error))
            raise ServerNonsense(f"{host} broke off its answer.") from None
        return response

    def _raise_failure(self, words: str) -> None:
        if failure := self._transport.failure_in(words):
            raise failure


@asynccontextmanager
async def _asking(*, trusted_host: str) -> AsyncIterator[_Asker]:
    transport = GuardedTransport(
        sign_in_policy(trusted_host),
        connect_seconds=HTTP_SECONDS,
        max_bytes=ANSWER_MAX_BYTES,
        max_lines=ANSWER_MAX_BYTES,
        refusal_in=compression_in,
        washes=False,
    )
    try:
        yield _Asker(transport, trusted_host=trusted_host)
    finally:
        await transport.aclose()


async def _resource_of(
    asker: _Asker, endpoint: Endpoint, challenge: httpx2.Response
) -> ProtectedResourceMetadata | None:
    """What a server says of itself (RFC 9728); None: nothing, as servers of 2025-03 do."""
    pointed = extract_resource_metadata_from_www_auth(challenge)
    for url in build_protected_resource_metadata_discovery_urls(pointed, endpoint.url):
        found = await asker.get(url, ProtectedResourceMetadata, of=endpoint.name)
        if found is None:
            continue
        ours = resource_url_from_server_url(endpoint.url)
        theirs = str(found.resource)
        is_ours = check_resource_allowed(requested_resource=ours, configured_resource=theirs)
        if not is_ours or len(theirs) > URL_MAX_LENGTH:
            raise ServerNonsense(f"{endpoint.name} says that it is {_host(str(found.resource))}, which it is not.")
        return found
    return None


async def _metadata_of(asker: _Asker, endpoint: Endpoint, resource: ProtectedResourceMetadata | None) -> OAuthMetadata:
    """What the authorization server says of itself (RFC 8414, OpenID Connect Discovery)."""
    named = str(resource.authorization_servers[0]) if resource else None
    expected = named or f"{urlsplit(endpoint.url).scheme}://{urlsplit(endpoint.url).netloc}".lower()
    for url in build_oauth_authorization_server_metadata_discovery_urls(named, endpoint.url):
        found = await asker.get(url, OAuthMetadata, of=endpoint.name)
        if found is None:
            continue
        if not issuers_match(str(found.issuer), expected):
            raise ServerNonsense(f"{_host(expected)} says that it is {_host(str(found.issuer))}, which it is not.")
        return found
    raise ServerNonsense(f"{endpoint.name} does not say how one signs in to it. Check its address, or its headers.")


def _checked(asker: _Asker, found: OAuthMetadata) -> Issuer:
    """What is kept of it. Raises ToolServerError for what can't be signed in with safely."""
    host = _host(str(found.issuer))
    if "S256" not in (found.code_challenge_methods_supported or ()):
        raise ServerNonsense(f"{host} does not protect sign-ins by PKCE (S256), without which Parley begins none.")
    if "code" not in found.response_types_supported or "authorization_code" not in (
        found.grant_types_supported or GRANTS
    ):
        raise ServerNonsense(f"{host} lets nobody sign in by a browser.")
    registration, revocation = found.registration_endpoint, found.revocation_endpoint
    return Issuer(
        issuer=str(found.issuer),
        authorization_endpoint=asker.check(str(found.authorization_endpoint), of=host),
        token_endpoint=asker.check(str(found.token_endpoint), of=host),
        registration_endpoint=asker.check(str(registration), of=host) if registration else "",
        revocation_endpoint=asker.check(str(revocation), of=host) if revocation else "",
        auth_methods=tuple(found.token_endpoint_auth_methods_supported or ()),
        sends_iss=found.authorization_response_iss_parameter_supported is True,
    )


def _scope_of(
    challenge: httpx2.Response, resource: ProtectedResourceMetadata | None, metadata: OAuthMetadata
) -> str | None:
    """What the server asks for. Where it does not say, the issuer decides: all that this one has would be too much."""
    asked = extract_scope_from_www_auth(challenge)
    if asked is None and (resource is None or resource.scopes_supported is None):
        return None
    return get_client_metadata_scopes(asked, resource, metadata, GRANTS)


def _resource_name(endpoint: Endpoint, resource: ProtectedResourceMetadata | None) -> str:
    return str(resource.resource) if resource else resource_url_from_server_url(endpoint.url)


def _method_for(issuer: Issuer, *, has_secret: bool) -> str:
    """How Parley says who it is. An issuer that does not say what it takes, takes Basic (RFC 8414, section 2)."""
    wanted = ("client_secret_basic", "client_secret_post") if has_secret else ()
    takes = issuer.auth_methods or ("client_secret_basic",)
    return next((method for method in wanted if method in takes), "none")


def _registration_at(issuer: Issuer) -> OAuthMetadata:
    return OAuthMetadata.model_validate(
        {
            "issuer": issuer.issuer,
            "authorization_endpoint": issuer.authorization_endpoint,
            "token_endpoint": issuer.token_endpoint,
            "registration_endpoint": issuer.registration_endpoint,
        }
    )


async def _tokens_for(issuer: Issuer, client: Client, form: Mapping[str, str], *, trusted_host: str) -> Tokens:
    host = _host(issuer.token_endpoint)
    async with _asking(trusted_host=trusted_host) as asker:
        response = await asker.post(issuer.token_endpoint, client, form)
    if response.status_code not in {200, 201}:
        raise _refusal(response, f"{host} gave no token")
    try:
        found = OAuthToken.model_validate_json(response.content)
    except ValidationError:
        # Some say what is wrong with a status that says that nothing is.
        raise _refusal(response, f"{host} gave no token that can be used") from None
    for token in filter(None, (found.access_token, found.refresh_token)):
        if len(token) > TOKEN_MAX_CHARACTERS or not _TOKEN.fullmatch(token):
            raise ServerNonsense(f"{host} gave no token that can be used.")
    if not found.access_token:
        raise ServerNonsense(f"{host} gave no token that can be used.")
    return Tokens(found.access_token, found.refresh_token or "", found.expires_in, found.scope or "")


def _refusal(response: httpx2.Response, what: str) -> ToolServerError:
    """What an answer that is no success means: a no for good, or something that may pass."""
    status = response.status_code
    if status == 429 or status >= 500:
        return ServerUnreachable(f"{what} ({status}). Try again later.")
    try:
        said: Any = orjson.loads(response.content)
    except ValueError:
        said = None
    reason = said.get("error") if isinstance(said, dict) else None
    if isinstance(reason, str) and _REASON.fullmatch(reason):
        return IssuerRefused(f"{what} ({reason}).", reason=reason)
    if 300 <= status < 400:
        return ServerNonsense(f"{what}: it sent Parley elsewhere, where nobody goes with a secret.")
    return ServerNonsense(f"{what} ({status}).")


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "The sign-in")[:HOST_MAX_CHARACTERS]


__all__ = ["discover", "entered_client", "exchange", "refresh", "register", "revoke", "send_away"]
