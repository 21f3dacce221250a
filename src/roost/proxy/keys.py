"""API keys: who presents one, what it may use, how often. Owned by the plane, asked by `proxy/phases.py`.

Keys are held as SHA-256 digests and compared in constant time; the plain text is not kept here.
"""

import hashlib
import hmac
from collections.abc import Sequence
from fnmatch import fnmatchcase

from roost.core.server_spec import KeySpec, Scope


class Allowance:
    """A token bucket: `per_minute` requests, all of them at once if none came for a minute."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._rate = per_minute / 60.0
        self._full = float(per_minute)
        self._left = float(per_minute)
        self._at = now

    def take(self, now: float) -> float:
        """0 if the request may go; else the seconds until one may."""
        self._left = min(self._full, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class KeyRing:
    """The configured keys. Empty: everybody who may connect may do everything."""

    def __init__(self, keys: Sequence[KeySpec]) -> None:
        self._by_digest = {hashlib.sha256(key.key.encode()).digest(): key for key in keys}
        self._allowances: dict[str, Allowance] = {}

    @property
    def empty(self) -> bool:
        return not self._by_digest

    def find(self, presented: bytes) -> KeySpec | None:
        """The key that was presented. The lookup is by digest, whose timing tells nothing about the key."""
        digest = hashlib.sha256(presented).digest()
        found = None
        for known, key in self._by_digest.items():
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def wait_s(self, key: KeySpec, now: float) -> float:
        """0 if this key may send a request now, else the seconds until it may."""
        if key.requests_per_minute is None:
            return 0.0
        allowance = self._allowances.get(key.name)
        if allowance is None:
            allowance = self._allowances[key.name] = Allowance(key.requests_per_minute, now)
        return allowance.take(now)


def may_use(key: KeySpec | None, name: str) -> bool:
    """Whether this key's allowlist has the model."""
    if key is None or key.models is None:
        return True
    return any(fnmatchcase(name, pattern) for pattern in key.models)


def scopes_of(key: KeySpec | None) -> frozenset[Scope]:
    """What the key may do; admin includes the others. No keys configured: everything."""
    if key is None or Scope.ADMIN in key.scopes:
        return frozenset(Scope)
    return frozenset(key.scopes)
