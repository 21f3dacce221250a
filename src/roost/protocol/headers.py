"""Header fields that roost itself must understand or must not pass on. Everything else goes through untouched.

Pure data and one lookup; shared by both directions.
"""

from enum import Enum, auto


class Special(Enum):
    """What a field is to a proxy."""

    HOP = auto()
    """Ends at this hop (RFC 9110 §7.6.1)."""
    CONNECTION = auto()
    KEEP_ALIVE = auto()
    HOST = auto()
    LENGTH = auto()
    CODING = auto()
    UPGRADE = auto()
    EXPECT = auto()
    KEY = auto()
    """Carries a client's key: never passed on."""
    CONTENT_TYPE = auto()
    ORIGIN = auto()
    REQUEST_ID = auto()
    READ_TIMEOUT = auto()
    NEXT = auto()
    """Models that the client will ask for next: a word to roost alone."""


_KINDS = {
    b"connection": Special.CONNECTION,
    b"keep-alive": Special.KEEP_ALIVE,
    b"proxy-connection": Special.HOP,
    b"proxy-authenticate": Special.HOP,
    b"proxy-authorization": Special.HOP,
    b"te": Special.HOP,
    b"trailer": Special.HOP,
    b"http2-settings": Special.HOP,
    b"host": Special.HOST,
    b"content-length": Special.LENGTH,
    b"transfer-encoding": Special.CODING,
    b"upgrade": Special.UPGRADE,
    b"expect": Special.EXPECT,
    b"authorization": Special.KEY,
    b"x-api-key": Special.KEY,
    b"api-key": Special.KEY,
    b"content-type": Special.CONTENT_TYPE,
    b"origin": Special.ORIGIN,
    b"x-request-id": Special.REQUEST_ID,
    b"x-stainless-read-timeout": Special.READ_TIMEOUT,
    b"x-roost-next": Special.NEXT,
}
special_kind = _KINDS.get
"""Lower-case field name -> Special, or None for a field that simply goes through."""

CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"})
"""Options of a Connection field that name no further field to drop, or one that is dropped anyway."""
