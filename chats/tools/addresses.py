"""Which addresses, headers and variables of servers are acceptable."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings

from accounts.outbound import STAFF_POLICY, USUAL_PORTS, AddressDenied, AddressPolicy
from chats.errors import Invalid

VARIABLES_MAX = 50
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEADERS_MAX = 20
HEADERS_MAX_CHARACTERS = 16_000
# What belongs to a connection, not to a request that is passed on.
CONNECTION_HEADERS = frozenset(
    ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent"]
)
# And what is the client's own.
_OWN_HEADERS = CONNECTION_HEADERS | {
    *("accept", "content-type", "cookie", "last-event-id", "mcp-session-id", "mcp-protocol-version", "te", "upgrade")
}


def policy_for(*, is_trusted: bool) -> AddressPolicy:
    """Where a server may be: one that the operator has set up anywhere, others not in the operator's networks."""
    if is_trusted:
        return STAFF_POLICY
    return AddressPolicy(allowed_hosts=frozenset(name.lower() for name in settings.OUTBOUND_ALLOWED_HOSTS))


def check_url(url: str, *, is_trusted: bool) -> str:
    """The address without blanks around it. Raises Invalid saying what to correct."""
    url = url.strip()
    try:
        policy_for(is_trusted=is_trusted).check_url(url)
    except AddressDenied as error:
        raise Invalid(fields={"url": [str(error)]}) from None
    return url


def sign_in_policy(trusted_host: str) -> AddressPolicy:
    """Where one signs in: a server names those addresses, and it may be in a stranger's hands, whoever has set it up.

    So in the operator's networks only what they have named themselves, or the host of their own server.
    """
    named = policy_for(is_trusted=False).allowed_hosts
    return AddressPolicy(allowed_hosts=named | {trusted_host.lower()} if trusted_host else named)


def check_secure_url(url: str, *, trusted_host: str) -> str:
    """`url`, to which secrets may go: https, or http to a host that `sign_in_policy` excuses. Raises AddressDenied."""
    policy = sign_in_policy(trusted_host)
    parts = policy.check_url(url)
    _, host, port = origin_of(url)
    if parts.scheme != "https" and {host, f"{host}:{port}"}.isdisjoint(policy.allowed_hosts):
        raise AddressDenied(f"{parts.hostname} is not reached by https, and so not trusted with a sign-in.")
    return url


def origin_text(url: str) -> str:
    """`origin_of` as one text."""
    scheme, host, port = origin_of(url)
    return f"{scheme}://{host}:{port}"


def origin_of(url: str) -> tuple[str, str, int | None]:
    """To whom credentials for this address may be shown."""
    try:
        parts = urlsplit(url)
        port = parts.port or USUAL_PORTS.get(parts.scheme)
    except ValueError:
        return "", url, None
    return parts.scheme, (parts.hostname or "").lower(), port


def host_of(url: str) -> str:
    """The host, with its port where that is not the usual one; "" where there is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return host if port in {None, USUAL_PORTS.get(parts.scheme)} else f"{host}:{port}"


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises Invalid when these can't be the headers of a request."""
    if len(headers) > HEADERS_MAX or sum(len(n) + len(v) for n, v in headers.items()) > HEADERS_MAX_CHARACTERS:
        raise _invalid(f"At most {HEADERS_MAX} headers of {HEADERS_MAX_CHARACTERS:,} characters together are allowed.")
    for name, value in headers.items():
        if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise _invalid(f"«{name[:40]}» is no name of a header.")
        if name.lower() in _OWN_HEADERS:
            raise _invalid(f"Parley sets {name} itself.")
        if not value.isascii() or not value.isprintable():
            raise _invalid(f"The value of {name} has characters that no header has.")


def check_variables(variables: Mapping[str, str]) -> None:
    """Raises Invalid when a program can't be started with these in its environment."""
    if len(variables) > VARIABLES_MAX:
        raise Invalid(fields={"environment": [f"At most {VARIABLES_MAX} variables are allowed."]})
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            said = f"«{name[:40]}» is no name of a variable, or its value can't be passed on."
            raise Invalid(fields={"environment": [said]})


def _invalid(message: str) -> Invalid:
    return Invalid(fields={"headers": [message]})
