"""Idle connections to engines, by address; the newest is used first, the oldest are closed by the sweep.

Owns every upstream connection that no request uses. Connecting is the only task the data plane makes.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from roost.core.request import Address
from roost.tasks import spawn

if TYPE_CHECKING:
    from roost.proxy.relay import Upstream

Connected = Callable[["Upstream | None", str], None]
"""Called with the new connection, or None and a sentence that says why there is none."""
MAX_IDLE_PER_ADDRESS = 1024


class Pool:
    """One for the whole plane."""

    def __init__(self, make: Callable[[], "Upstream"]) -> None:
        self._make = make
        self._idle: dict[Address, dict[Upstream, None]] = {}  # ordered: insertion order is age
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    def take(self, address: Address, now: float) -> "Upstream | None":
        """The most recently used idle connection that has not outlived its time."""
        idle = self._idle.get(address)
        while idle:
            upstream, _ = idle.popitem()
            if now < upstream.expires_at and not upstream.transport.is_closing():
                return upstream
            upstream.transport.abort()
        return None

    def put(self, upstream: "Upstream") -> None:
        """A connection whose response ended cleanly, or that came when nobody needed it any more."""
        idle = self._idle.setdefault(upstream.address, {})
        if self._closed or len(idle) >= MAX_IDLE_PER_ADDRESS:
            upstream.transport.abort()
            return
        idle[upstream] = None

    def forget(self, upstream: "Upstream") -> None:
        """The engine closed an idle connection."""
        idle = self._idle.get(upstream.address)
        if idle is not None:
            idle.pop(upstream, None)

    def connect(self, address: Address, timeout_s: float, done: Connected) -> None:
        """Open a connection; `done` is called once."""
        spawn(self._connect(address, timeout_s, done), f"connect {address}")

    async def _connect(self, address: Address, timeout_s: float, done: Connected) -> None:
        loop = asyncio.get_running_loop()
        upstream: Upstream | None = None
        error = ""
        try:
            async with asyncio.timeout(timeout_s):
                if address.socket_path is not None:
                    _, upstream = await loop.create_unix_connection(self._make, address.socket_path)
                else:
                    tls = self._trusted() if address.tls else None
                    _, upstream = await loop.create_connection(self._make, address.host, address.port, ssl=tls)
            upstream.placed(address)
        except TimeoutError:
            error = f"no connection to {address} within {timeout_s:g} s"
        except ssl.SSLError as problem:
            error = f"no connection to {address}: {_tls_fault(problem)}"
        except OSError as problem:
            error = f"no connection to {address}: {problem.strerror or problem}"
        except UnicodeError:  # from the resolver's encoding of the name, before anything is asked
            error = f"no connection to {address}: not a host name"
        done(upstream, error)

    def _trusted(self) -> ssl.SSLContext:
        """Made at the first need: reading the system's certificates takes 20 ms."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def sweep(self, now: float) -> None:
        """Close what has outlived its time, and forget addresses without connections."""
        for address, idle in list(self._idle.items()):
            for upstream in [one for one in idle if now >= one.expires_at]:
                del idle[upstream]
                upstream.transport.abort()
            if not idle:
                del self._idle[address]

    def close(self) -> None:
        """For good: a connection that is still being made is dropped when it is there."""
        self._closed = True
        for idle in self._idle.values():
            for upstream in idle:
                upstream.transport.abort()
        self._idle.clear()


def _tls_fault(problem: ssl.SSLError) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({problem.verify_message})"
    return f"no TLS there ({problem.reason or 'handshake failed'})"
