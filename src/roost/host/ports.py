"""Free TCP ports for engines. One `PortPicker` per roost, so that no port is handed out twice.

Ports come from below the range that the system uses for outgoing connections: an engine that is down for a while
would else find its port taken by somebody's connection, and roost itself makes many.
"""

import errno
import random
import socket
from collections.abc import Iterable
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_RANGE_BEGIN = 32768
_LOWEST = 20000


class PortPicker:
    """Hands out ports that nobody listens on, besides those that the config names."""

    def __init__(self, reserved: Iterable[int] = ()) -> None:
        self._taken = set(reserved)

    def reserve(self, ports: Iterable[int]) -> None:
        """Ports that the config names for models that come later."""
        self._taken.update(ports)

    def give_back(self, port: int) -> None:
        """Its engine is gone for good."""
        self._taken.discard(port)

    def pick(self, host: str) -> int:
        """A port free right now. Raises OSError where the machine has none."""
        for port in _candidates():
            if port not in self._taken and is_free(host, port):
                self._taken.add(port)
                return port
        raise OSError(f"no free port found for engines on {host}; give the models ports of their own")


def _candidates() -> Iterable[int]:
    """From a place of this picker's own onwards, so that two roosts starting together seldom meet."""
    end = _outgoing_begin()
    begin = _LOWEST if end - _LOWEST >= 1000 else 1024
    ports = range(begin, end)
    at = random.randrange(len(ports))
    return (*ports[at:], *ports[:at])


def _outgoing_begin() -> int:
    try:
        begin = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_RANGE_BEGIN
    return begin if begin > 2048 else _USUAL_RANGE_BEGIN


def is_free(host: str, port: int) -> bool:
    """True if nobody listens on it and it can be bound. Raises OSError for a host that is not of this machine."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
