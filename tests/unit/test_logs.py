import logging

from roost.logs import Kept


def test_the_last_lines_are_kept_within_their_bound() -> None:
    kept = Kept(most=100)
    for n in range(50):
        kept.add(f"line {n:04}")  # ten bytes with its end
    assert kept.since(0) == (50, [f"line {n:04}" for n in range(40, 50)])


def test_a_reader_gets_what_is_new_and_misses_what_is_gone() -> None:
    kept = Kept(most=100)
    kept.add("one\ntwo\n")
    assert kept.since(kept.count) == (2, [])
    kept.add("three")
    assert kept.since(2) == (3, ["three"])
    kept.add("x" * 99)
    assert kept.since(2) == (4, ["x" * 99])
    kept.add("y" * 200)
    assert kept.since(2) == (5, [])


def test_it_keeps_what_is_logged_as_it_is_shown() -> None:
    kept, log = Kept(), logging.getLogger("test of kept lines")
    kept.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.addHandler(kept)
    log.warning("%s falls asleep", "a/0")
    assert kept.since(0)[1] == ["WARNING a/0 falls asleep"]
