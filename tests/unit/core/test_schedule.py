"""Days and hours as text."""

import pytest

from roost.core.schedule import DAY_MIN, When, Window, parse_when

ALL = frozenset(range(7))


@pytest.mark.parametrize(
    ("text", "days", "spans"),
    [
        ("mon-fri 08:00-18:00", {0, 1, 2, 3, 4}, ((480, 1080),)),
        ("sat,sun", {5, 6}, ((0, DAY_MIN),)),
        ("22:00-06:00", ALL, ((1320, DAY_MIN + 360),)),
        ("fri-mon", {4, 5, 6, 0}, ((0, DAY_MIN),)),
        (" Monday , WED - thu  8:00-12:00 , 13:00-24:00 ", {0, 2, 3}, ((480, 720), (780, DAY_MIN))),
        ("sun 23:59-00:00", {6}, ((1439, DAY_MIN),)),
    ],
)
def test_days_and_hours(text: str, days: set[int], spans: tuple[tuple[int, int], ...]) -> None:
    assert parse_when(text) == When(frozenset(days), spans)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write days, hours or both"),
        ("08:00-18:00 mon", "write days, hours or both"),
        ("mon tue", "write days, hours or both"),
        ("mon-fry 08:00-18:00", '"fry" is not a day; did you mean friday'),
        ("workday", '"workday" is not a day'),
        ("xyz", "days are mon, tue"),
        ("mon-", '"" is not a day'),
        ("mon 8-18", '"8-18" is not a span of hours; write it as 08:00-18:00'),
        ("24:00-06:00", "a time that no clock shows"),
        ("08:00-24:01", "a time that no clock shows"),
        ("08:60-09:00", "a time that no clock shows"),
        ("08:00-08:00", "begins when it ends"),
    ],
)
def test_what_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_when(text)


def test_a_window_in_words() -> None:
    window = Window(when="sat,sun", timezone="Europe/Berlin", since=0.0, until=7500.0)
    assert str(window) == '"sat,sun" (Europe/Berlin)'
    assert window.ends(0.0) == "for 2h 05m more"
    always = Window(when="mon-sun", timezone="local", since=0.0, until=None)
    assert (str(always), always.ends(5.0)) == ('"mon-sun"', "always")
