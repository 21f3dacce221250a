"""What a replica holds, state by state: bytes on each of its devices and bytes of host memory.

Pure values. Claimed by the config, estimated by `engines`, learned by `host`; read by the planner and shown by status.
"""

from dataclasses import dataclass
from enum import StrEnum

HOST = "host"
"""The name of host memory among the devices."""


class Source(StrEnum):
    """Where a figure comes from."""

    DECLARED = "declared"
    ESTIMATED = "estimated"
    LEARNED = "learned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes held in one state."""

    device: int = 0
    """On each of its devices."""
    host: int = 0
    source: Source = Source.UNKNOWN
    host_source: Source | None = None
    """Of the host's figure, where that comes from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What is held on each rung; nothing while stopped."""

    awake: Held = Held()
    level1: Held = Held()
    """Also where the engine sleeps in a way of its own."""
    level2: Held = Held()
