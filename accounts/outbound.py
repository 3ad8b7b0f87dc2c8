"""Where this server may connect to: the one policy for all outgoing HTTP, whatever client carries it.

Pure functions on text and addresses; no I/O, no Django. A client must (1) `check_url` before it connects, (2) resolve
names through a resolver that calls `check_address` on every address, and connect to exactly those, (3) follow no
redirect without starting again at (1).
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_MAX_LENGTH = 2_000
USUAL_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
# WHATWG: a name whose last label is a number is an address, however it is written (0x7f.1, 2130706433, 017700000001).
_NUMERIC_END = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")
_BRACKETED = re.compile(r"\[[0-9a-f.]*:[0-9a-f:.]*\](:\d*)?", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\<>\"^`{|}]")


class AddressDenied(ValueError):
    """This address may not be connected to. The text is for people: what is wrong and what to write instead."""


class Reach(Enum):
    PUBLIC = "public"
    PRIVATE = "private"  # this machine, or a network of the operator
    FORBIDDEN = "forbidden"  # cloud metadata, link-local, multicast, documentation, unassigned: no provider lives there


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
# IANA special-purpose registries. Written out, because `is_private` means different things in different Pythons.
_PRIVATE = _networks(
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10", "198.18.0.0/15"),
    *("::1/128", "fc00::/7"),
)
_FORBIDDEN = _networks(
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "3fff::/20"),
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)


def reach_of(address: Address) -> Reach:
    """Who may be met at `address`. An IPv4 address wrapped into an IPv6 one counts as what it wraps."""
    if isinstance(address, ipaddress.IPv6Address) and (inner := _wrapped(address)) is not None:
        return reach_of(inner)
    if address in _METADATA or _is_in(address, _FORBIDDEN):
        return Reach.FORBIDDEN
    if _is_in(address, _PRIVATE):
        return Reach.PRIVATE
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return Reach.FORBIDDEN
    return Reach.PUBLIC


def _is_in(address: Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks)


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway or the kernel would really reach: mapped, 6to4, NAT64, translated, ISATAP."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    number = int(address)
    is_compatible = address in _COMPATIBLE and number > 0xFFFF
    is_isatap = (number >> 32) & 0xFFFFFFFF in _ISATAP
    if is_compatible or is_isatap or address in _NAT64 or address in _TRANSLATED:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """`allows_private`: staff chose the address, it may be on this machine or network. `allowed_hosts`: names and
    addresses, in lower case, that may be private even so, at any port or, as host:port, at one. Forbidden addresses
    stay forbidden for everyone."""

    allows_private: bool = False
    allowed_hosts: frozenset[str] = frozenset()

    def check_url(self, url: str) -> SplitResult:
        """The parts of an acceptable http or https URL. Raises AddressDenied. Names still have to be resolved."""
        parts = _split(url)
        host = parts.hostname or ""
        if ":" in host or _NUMERIC_END.search(host):
            self.check_address(host, host=host, port=parts.port or USUAL_PORTS[parts.scheme])
        elif not _NAME.fullmatch(host.removesuffix(".")):
            raise AddressDenied("The address needs the name of a host, in ASCII letters, like https://api.example.com.")
        return parts

    def check_address(self, address: str, *, host: str, port: int | None = None) -> None:
        """Pass if one may connect to `address`, which `host` resolved to. Raises AddressDenied."""
        try:
            reach = reach_of(ipaddress.ip_address(address))
        except ValueError:
            raise AddressDenied(f"{host} is not an IP address as it is usually written, like 192.168.1.5.") from None
        if reach is Reach.PUBLIC or (reach is Reach.PRIVATE and self._is_excused(host, port)):
            return
        named = " Whoever runs it can name this host in OUTBOUND_ALLOWED_HOSTS." if reach is Reach.PRIVATE else ""
        raise AddressDenied(f"{host} leads to a {reach.value} address, which this server does not connect to.{named}")

    def _is_excused(self, host: str, port: int | None) -> bool:
        name = host.lower().removesuffix(".")
        return self.allows_private or not self.allowed_hosts.isdisjoint({name, f"{name}:{port}"})


# For addresses that operators and staff choose: Ollama on localhost is as good as a server far away.
STAFF_POLICY = AddressPolicy(allows_private=True)


def _split(url: str) -> SplitResult:
    if len(url) > URL_MAX_LENGTH:
        raise AddressDenied(f"The address is longer than {URL_MAX_LENGTH} characters.")
    if _UNSAFE.search(url):
        raise AddressDenied("The address has blanks or characters that do not belong in a URL.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressDenied("The address is not a URL with a host and a port between 1 and 65535.") from None
    if parts.scheme not in ("http", "https"):
        raise AddressDenied("The address must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise AddressDenied("The address must not contain a user name or password; enter the key separately.")
    is_broken = "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc)
    if port == 0 or not parts.hostname or is_broken or "%" in parts.netloc or parts.fragment:
        raise AddressDenied("The address needs a plain host, a port between 1 and 65535 if any, and no #fragment.")
    return parts
