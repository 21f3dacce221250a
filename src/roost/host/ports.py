"""Free TCP ports for engines. One `PortPicker` per roost, so that no port is handed out twice."""

import socket
from collections.abc import Iterable

TRIES = 100


class PortPicker:
    """Hands out ports that nobody listens on, besides those that the config names."""

    def __init__(self, reserved: Iterable[int] = ()) -> None:
        self._taken = set(reserved)

    def pick(self, host: str) -> int:
        """A port free right now. Raises OSError where the machine has none."""
        for _ in range(TRIES):
            with socket.socket() as probe:
                probe.bind((host, 0))
                port: int = probe.getsockname()[1]
            if port not in self._taken:
                self._taken.add(port)
                return port
        raise OSError("no free port found")


def is_free(host: str, port: int) -> bool:
    """True if nobody listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
