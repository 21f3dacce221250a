"""Sizes and durations: reading, and writing so that they read back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.units import exact_duration, exact_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1000, "1 KB"),
        (1024, "1 KiB"),
        (32 * 1024, "32 KiB"),
        (80 * 2**30, "80 GiB"),
        (2**40, "1 TiB"),
        (20 * 10**9, "20 GB"),
        (1001, "1001"),
    ],
)
def test_exact_size(count: int, text: str) -> None:
    assert exact_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.0, "0s"),
        (0.25, "250ms"),
        (1.2345, "1.2345s"),
        (1e-07, "1e-07"),
        (90.0, "90s"),
        (300.0, "5m"),
        (7200.0, "2h"),
        (86400.0, "1d"),
        (1e-07, "1e-07"),
    ],
)
def test_exact_duration(seconds: float | None, text: str) -> None:
    assert exact_duration(seconds) == text


@given(st.integers(0, 2**53))
def test_a_size_reads_back(count: int) -> None:
    assert parse_size(exact_size(count)) == count


@given(st.none() | st.floats(0, 1e12))
def test_a_duration_reads_back(seconds: float | None) -> None:
    assert parse_duration(exact_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["9" * 400 + "GB", "-1", "80 parsecs", "", "GiB"])
def test_what_is_no_size_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 80GiB"):
        parse_size(text)
