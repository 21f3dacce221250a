"""A clock on the wall that goes with the virtual one: set once, then it moves as the loop's clock does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from unittest import mock
from zoneinfo import ZoneInfo

from roost import clock

STARTS_AT = 1000.0
"""Where `virtual.run` begins."""


def unix(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """`2026-03-29 01:30` as Unix time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


class Wall:
    """`set` moves it, as an administrator does."""

    def __init__(self, unix_s: float) -> None:
        self._at_start = unix_s

    def __call__(self) -> float:
        return self._at_start + clock.now() - STARTS_AT

    def set(self, unix_s: float) -> None:
        self._at_start += unix_s - self()


@contextmanager
def wall(text: str, zone: str = "UTC") -> Iterator[Wall]:
    """It shows that when the virtual loop begins."""
    shown = Wall(unix(text, zone))
    with mock.patch("roost.clock.wall", shown):
        yield shown
