"""What is remembered of a head, so that the next one like it on the same connection need not be looked at again.

Values only. Made by `session`, used by `phases.accepted_again`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost.core.server_spec import KeySpec
from roost.protocol.head import RequestHead

if TYPE_CHECKING:
    from roost.proxy.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `accepted` found of a head, kept by the session for the next request of the connection."""

    before: bytes
    after: bytes
    head: RequestHead
    method: str
    path: str
    query: bytes
    key: KeySpec | None
    to_admin: bool


def to_remember(x: "Exchange", parts: tuple[bytes, bytes, bytes] | None) -> Accepted | None:
    """The memory of an accepted request, if its kind is one that comes again: fixed length, nothing unusual."""
    head = x.head
    unusual = head.chunked or head.expect_continue or head.upgrade or head.request_id or x.streams_body
    if parts is None or unusual:
        return None
    return Accepted(parts[0], parts[2], head, x.request.method, x.path, x.query, x.request.key, x.to_admin)
