"""What is seen of one device, or of host memory: its size and what processes that are none of roost's use of it.

Pure values. Made by `host/devices_watch.py`, read by `control/budgets.py` and status.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One device as the machine shows it."""

    size: int
    """All of its memory that programs can have, in bytes."""
    others: int = 0
    """Bytes used by processes that are none of roost's; small changes are left out."""
