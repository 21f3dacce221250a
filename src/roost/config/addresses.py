"""Hosts and URLs as the config writes them. Pure: looks nothing up. Called by `checks`, and by whoever connects."""

import ipaddress
from urllib.parse import urlsplit

from roost.core.request import Address

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
_LIKE = "http://127.0.0.1:8000"
_ANY = frozenset({"0.0.0.0", "::"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost counts as reachable."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def may_clash(one: str, other: str) -> bool:
    """Whether two servers on these hosts would fight for the same port."""
    first, second = _normal(one), _normal(other)
    return first == second or first in _ANY or second in _ANY


def address_of(url: str) -> Address:
    """Where an engine's base address leads: `http://10.0.0.7:8000`, `https://example.org/api`.

    Raises ValueError saying what to write instead; it never repeats the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not an address: {str(error).lower()}; write it like {_LIKE}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"is not an address of an engine; write it like {_LIKE}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password; write the engine's key as api_key")
    if parts.query or parts.fragment:
        raise ValueError("has a query; write only scheme, host, port and path")
    if any(sign <= " " for sign in host):
        raise ValueError(f"has a space in its host; write it like {_LIKE}")
    base = parts.path.rstrip("/")
    if base.endswith("/v1"):
        raise ValueError("ends in /v1; leave that away, roost adds /v1/... itself")
    if any(not "!" <= sign <= "~" for sign in base):
        raise ValueError("has a sign in its path that no address has; write it percent-encoded")
    tls = parts.scheme == "https"
    return Address(host, port or (443 if tls else 80), tls=tls, base=base)


def _normal(host: str) -> str:
    bare = host.lower().strip("[]")
    return "127.0.0.1" if bare in _LOOPBACK_NAMES else bare
