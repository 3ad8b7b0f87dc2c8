"""Who is at the other end of the wire, for limits: the address a connection really comes from.

X-Forwarded-For is written by anyone, so only the last TRUSTED_PROXY_COUNT entries of it are believed: those that
our own proxies appended.
"""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "unknown"
# A household or a rented server gets a whole /64: counting single addresses would count nothing.
IPV6_PREFIX_BITS = 64


def peer_of(request: HttpRequest) -> str:
    """The network peer: an IPv4 address, an IPv6 /64 network, or «unknown» (a Unix socket has no address)."""
    return _network_of(_forwarded_address(request) or request.META.get("REMOTE_ADDR", ""))


def _forwarded_address(request: HttpRequest) -> str | None:
    count: int = settings.TRUSTED_PROXY_COUNT
    entries = [e.strip() for e in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if e.strip()]
    if not count or len(entries) < count:
        return None
    return entries[-count]


def _without_port(text: str) -> str:
    """Some proxies write the port as well: «203.0.113.5:4711», «[2001:db8::1]:4711»."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _network_of(text: str) -> str:
    try:
        address = ipaddress.ip_address(_without_port(text).partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
