"""Where a webhook may go: a URL taken apart, and which addresses nobody may make us call."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65535
# Names that mean this machine or this network whatever they resolve to.
_INTERNAL_SUFFIXES = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa")
# Prefixes whose last 32 bits are an IPv4 address that a gateway would call for us.
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


class BadTarget(ValueError):  # noqa: N818 - the name of the fact
    """A URL that no webhook may go to; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a webhook's URL; `path` has the query in it."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def pinned(self, address: Address) -> str:
        """Return the URL with the host replaced by `address`."""
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_target(url: str) -> Target:
    """Return the parts of `url`; raises BadTarget when it is no plain http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadTarget("invalid_url", "this is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadTarget("invalid_url", "a webhook needs an http or https URL with a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadTarget("invalid_url", "credentials and fragments do not belong into a webhook's URL")
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise BadTarget("invalid_url", "a URL is written in printable ASCII without spaces")
    if port is not None and not 0 < port <= _LARGEST_PORT:
        raise BadTarget("invalid_url", "this port does not exist")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def refuse_internal_name(target: Target) -> None:
    """Raise BadTarget when the host's name alone says that it is internal."""
    host = target.host.rstrip(".").lower()
    single_label = "." not in host and ":" not in host
    if single_label or host.endswith(_INTERNAL_SUFFIXES):
        raise BadTarget("target_refused", "the host is internal")


def is_public(address: Address) -> bool:
    """Whether `address` is a host of the public internet; what is wrapped in it (mapped, 6to4, NAT64) counts."""
    inner = _wrapped(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _wrapped(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.teredo[1] if address.teredo else None


def literal_address(host: str) -> Address | None:
    """Return the address that `host` spells, null for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
