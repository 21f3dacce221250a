import dataclasses
from pathlib import Path

import pytest

from roost.sim.flags import Behaviour, change, duration, parse, share, size


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("2s", 2.0), ("1m", 60.0), ("0.5", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("200MiB", 200 * 2**20), ("1GB", 10**9), ("4096", 4096), ("1.5 KiB", 1536)]
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["soon", "5 parsecs", "-1s", ""])
def test_what_is_no_duration_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        duration(text)


def test_a_share_is_between_0_and_1() -> None:
    assert share("0.25") == 0.25
    with pytest.raises(ValueError, match="between 0 and 1"):
        share("1.5")


def test_without_flags_all_defaults_hold() -> None:
    assert parse([]) == Behaviour()


def test_flags_are_read_as_people_write_them() -> None:
    seen = parse(["--model", "a", "--token-delay=5ms", "--claim-memory", "1MiB", "--ignore-sigterm", "--hang"])
    assert seen == Behaviour(model="a", token_delay=0.005, claim_memory=2**20, ignore_sigterm=True, hang="all")


def test_served_names_repeat_or_follow_each_other() -> None:
    assert parse(["--served-model-name", "a", "b", "--served-model-name=c"]).names == ("a", "b", "c")
    assert parse(["--model", "weights"]).names == ("weights",)


def test_a_wrong_flag_ends_with_2_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--token-delay", "soon"])
    assert end.value.code == 2
    assert "'soon' is not a duration; write it like" in capsys.readouterr().err


def test_change_takes_json_values_and_dashes() -> None:
    behaviour = Behaviour()
    change(behaviour, {"token-delay": "1s", "tokens": 3, "refuse_wake": True, "hang": "inference"})
    assert (behaviour.token_delay, behaviour.tokens, behaviour.refuse_wake) == (1.0, 3, True)
    change(behaviour, {"hang": None, "refuse_wake": False})
    assert (behaviour.hang, behaviour.refuse_wake) == (None, False)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"tokns": 3}, "'tokns' is not a behaviour"),
        ({"port": 3}, "'port' can only be given at start"),
        ({"refuse_wake": "yes"}, "refuse_wake is true or false"),
        ({"hang": "now"}, "none of: all, inference"),
    ],
)
def test_a_wrong_change_changes_nothing(wanted: dict[str, object], sentence: str) -> None:
    behaviour = Behaviour()
    with pytest.raises(ValueError, match=sentence):
        change(behaviour, {"tokens": 99, **wanted})
    assert behaviour == Behaviour()


def test_every_behaviour_has_a_flag_with_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    assert "flag" not in shown.split("options:")[0].split("\n\n", 1)[1] and "(default )" not in shown
    assert [f.name for f in dataclasses.fields(Behaviour) if "--" + f.name.replace("_", "-") not in shown] == []


def test_the_modules_that_a_start_needs_import_nothing_slow() -> None:
    import subprocess
    import sys

    code = "import sys, roost.sim.__main__, roost.sim.server; print(*sys.modules)"
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source})
    assert "roost.sim.server" in done.stdout.split()
    assert not {"pydantic", "typer", "rich", "httpx", "starlette"} & set(done.stdout.split())


def test_a_fault_at_a_path_is_given_as_words_and_as_json() -> None:
    seen = parse(["--slow-endpoint", "/sleep=1s", "/wake_up=2s", "--fail-first=/x=3", "--missing", "/ready"])
    assert (seen.slow_endpoint, seen.fail_first) == ((("/sleep", 1.0), ("/wake_up", 2.0)), (("/x", 3),))
    assert seen.missing == ("/ready",)
    assert change(seen, {"slow-endpoint": {"/a": "5ms"}, "missing": ["/b"], "fail_first": None}) == {
        "slow_endpoint",
        "missing",
        "fail_first",
    }
    assert (seen.slow_endpoint, seen.missing, seen.fail_first) == ((("/a", 0.005),), ("/b",), ())


@pytest.mark.parametrize("text", ["sleep=1s", "/sleep", "/sleep=soon"])
def test_a_fault_without_its_path_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        change(Behaviour(), {"slow_endpoint": text})
