"""Who may talk to this port from a browser: Host and Origin rules. Pure but for a small cache.

Any web page can post to a loopback port, and a name that resolves to 127.0.0.1 makes a page same-origin with
it; the Host must therefore be a name we know (or an address, which no DNS trick can forge), and a foreign
Origin must be configured.
"""

import ipaddress
from collections.abc import Iterable

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})
MAX_CACHED = 256


def host_name(host: str) -> str:
    """`localhost` of `localhost:8080`, `::1` of `[::1]:8080`; lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def is_address(name: str) -> bool:
    """True for an IP literal."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class HostRule:
    """Which Host headers are answered."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _LOOPBACK_NAMES | {host_name(name) for name in names}
        self._any = "*" in self._names
        self._known: dict[bytes, bool] = {}

    def allows(self, host: bytes) -> bool:
        known = self._known.get(host)
        if known is None:
            name = host_name(host.decode("latin-1"))
            known = self._any or name in self._names or name.endswith(".localhost") or is_address(name)
            if len(self._known) < MAX_CACHED:
                self._known[host] = known
        return known


class OriginRule:
    """Which web pages may call: those served from this very host, and the configured ones."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def allows(self, origin: bytes, host: bytes) -> bool:
        text = origin.decode("latin-1").rstrip("/").lower()
        return self.is_foreign_allowed(origin) or text.partition("://")[2] == host.decode("latin-1").lower()

    def is_foreign_allowed(self, origin: bytes) -> bool:
        """True if the origin is configured: then its pages also get CORS headers."""
        text = origin.decode("latin-1").rstrip("/").lower()
        return text in self._allowed or "*" in self._allowed


def cors_lines(origin: bytes, *, preflight: bool) -> bytes:
    """Header lines that let a page of this origin read the answer."""
    lines = b"access-control-allow-origin: " + origin + b"\r\nvary: Origin\r\n"
    lines += b"access-control-expose-headers: x-request-id, retry-after\r\n"
    if preflight:
        lines += (
            b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
            b"access-control-allow-headers: authorization, content-type, x-api-key, api-key, x-request-id, "
            b"anthropic-version, openai-organization, openai-project\r\n"
            b"access-control-max-age: 600\r\n"
        )
    return lines
