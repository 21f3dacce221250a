"""roost's own API as one more upstream: the admin application on its private Unix socket.

What the data plane found out about the caller goes along in `X-Roost-*` headers, which clients cannot
set; names are percent-encoded, so that none can end a line or a list.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

from roost.core.request import Address
from roost.proxy.keys import scopes_of

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange

CONNECT_S = 10.0
"""The API lives in this process: only a machine with far too much to do lets a connection wait."""
IDLE_S = 4.0
"""The API's server closes an idle connection at 5 s."""


class AdminLease:
    """Stands in for a gate's lease: the API is always there and has no limit of its own."""

    replica = "api"
    up = True
    taken_down = False
    watched = False

    def __init__(self, address: Address) -> None:
        self.address = address

    def release(self, now: float) -> None:
        """Nothing is counted."""

    def refused_connect(self) -> None:
        """Nobody to tell: the API lives in this process."""

    def answered(self) -> None:
        """Nothing is counted."""

    def failed(self, why: str) -> None:
        """Nothing is counted."""

    def denied(self, status: int, body: bytes) -> bool:
        """It has no models."""
        return False


def admin_lines(x: "Exchange", lines: list[bytes]) -> list[bytes]:
    """The head's lines with the caller's name, scopes and models in place of any the client made up."""
    kept = [line for line in lines if line[:8].lower() != b"x-roost-"]
    key = x.request.key
    keyless = key is None and not x.plane.keys.empty  # an open path, asked without a key
    scopes = () if keyless else sorted(scopes_of(key))
    kept.append(b"x-roost-scopes: " + ",".join(scopes).encode())
    if key is not None:
        kept.append(b"x-roost-key-name: " + quote(key.name).encode())
        if key.models is not None:
            kept.append(b"x-roost-models: " + ",".join(quote(name) for name in key.models).encode())
    kept.append(b"x-roost-host: " + (x.head.host or b""))
    return kept
