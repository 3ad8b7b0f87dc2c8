"""What is kept of an authorization server, of a sign-in that is under way, and of the tokens that come of it."""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import orjson

SCOPE_MAX_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authorization server, as far as its metadata was checked."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    auth_methods: tuple[str, ...] = ()  # of its token endpoint; none: it does not say
    sends_iss: bool = False  # with every answer to a browser (RFC 9207)


@dataclass(frozen=True, slots=True)
class Client:
    """Who Parley is to one issuer, and to no other."""

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    auth_method: str = "none"
    redirect_uri: str = ""
    is_registered: bool = False  # by Parley itself; else a person has entered it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a server says of how one signs in to it."""

    issuer: Issuer
    resource: str  # whom tokens are for (RFC 8707)
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    lifetime_seconds: float | None = None
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that waits for a browser to come back."""

    origin: str  # of the server, when it was begun
    plan: Plan
    client: Client
    verifier: str = field(repr=False)

    def pack(self) -> str:
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def unpack(cls, text: str) -> Self | None:
        """None when no key that is left can read it."""
        if not text:
            return None
        data = orjson.loads(text)
        plan = data["plan"]
        plan["issuer"] = _issuer(plan["issuer"])
        return cls(data["origin"], Plan(**plan), Client(**data["client"]), data["verifier"])


@dataclass(frozen=True, slots=True)
class Grant:
    """What is needed to act for a person at a server, and to go on doing so. Without tokens: they have been refused."""

    issuer: Issuer
    client: Client
    resource: str
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)

    def with_tokens(self, tokens: Tokens) -> "Grant":
        """A refresh token that is not replaced stays (RFC 6749, section 6)."""
        refresh_token = tokens.refresh_token or self.refresh_token
        return replace(self, access_token=tokens.access_token, refresh_token=refresh_token)

    def without_client(self) -> "Grant":
        return replace(self, client=Client(issuer="", client_id=""))

    def without_tokens(self) -> "Grant":
        return replace(self, access_token="", refresh_token="")

    def pack(self) -> str:
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def unpack(cls, text: str) -> Self | None:
        """None when no key that is left can read it."""
        if not text:
            return None
        data = orjson.loads(text)
        client = Client(**data.pop("client"))
        return cls(issuer=_issuer(data.pop("issuer")), client=client, **data)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, to be shown to `origin` only. `version` numbers the tokens of one person for one server."""

    token: str = field(repr=False)
    version: int
    origin: str
    stale_at: datetime | None = None  # when to have it refreshed

    def is_stale(self, now: datetime) -> bool:
        return self.stale_at is not None and self.stale_at <= now


def _issuer(data: dict[str, Any]) -> Issuer:
    return Issuer(**{**data, "auth_methods": tuple(data["auth_methods"])})
