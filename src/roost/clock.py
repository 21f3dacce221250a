"""The only reader of clocks. Everything below the waterline gets `now` as an argument."""

import time
from datetime import UTC, datetime

now = time.monotonic  # noqa: TID251 - this is the one place
"""Monotonic seconds, for every duration and deadline."""
wall = time.time  # noqa: TID251 - this is the one place
"""Unix seconds, for what people and other programs read."""


def to_wall(moment: float) -> float:
    """Unix seconds of a monotonic moment."""
    return wall() - (now() - moment)


def from_wall(unix_s: float) -> float:
    """The monotonic moment of a Unix time that has been; before the machine's start it is below zero, and a time that
    is still to come (the clock was set back) is now."""
    return now() - max(0.0, wall() - unix_s)


def iso(unix_s: float) -> str:
    """`2026-11-21T03:58:49.123Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
