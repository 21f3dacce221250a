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


def iso(unix_s: float) -> str:
    """`2026-11-21T03:58:49.123Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
