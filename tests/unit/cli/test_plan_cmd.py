"""`roost plan CONFIG --trace`: what is told of a rehearsed configuration, and what cannot begin."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from roost.host.database_schema import FILE, open_for_writing
from tests.support.command_line import roost

CONFIG = """\
memory: {{devices: {{gpu0: {budget}}}}}
models:
  a: {{command: engine-a, port: 9001, footprint: 10GiB, sleep_after: never}}
  b: {{command: engine-b, port: 9002, footprint: 10GiB, sleep_after: never}}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config, trace = tmp_path / "c.yaml", tmp_path / "t.csv"
    config.write_text(CONFIG.format(budget="12GiB"))
    rows = [f"2024-01-01 00:{i // 2:02d}:{i % 2 * 30:02d}.0000000,100,40" for i in range(80)]
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    return config, trace


def told(config: Path, *args: object) -> dict[str, object]:
    ended = roost("plan", str(config), "--json", *map(str, args))
    assert (ended.code, ended.err) == (0, "")
    facts: dict[str, object] = json.loads(ended.out)
    return facts


def test_a_budget_for_one_of_two_that_take_turns_thrashes_and_says_what_would_do(files: tuple[Path, Path]) -> None:
    config, trace = files
    facts = told(config, "--trace", trace, "--for", "1h")
    assert (facts["requests"], facts["thrashes"], facts["seconds"]) == (80, True, 3600.0)
    assert facts["enough"] == "gpu0 21.0 GiB"
    ended = roost("plan", str(config), "--trace", str(trace), "--for", "1h")
    assert ended.code == 0
    said = " ".join(ended.out.split())
    assert "It thrashes:" in said
    assert "It would end with gpu0 21.0 GiB: then 0 of 0 evictions are in vain" in said
    assert "Assumed: A load takes 10 s" in said
    assert "a request runs" in said.lower()


def test_with_room_for_both_only_the_first_ones_wait(files: tuple[Path, Path]) -> None:
    config, trace = files
    config.write_text(CONFIG.format(budget="24GiB"))
    facts = told(config, "--trace", trace, "--for", "1h")
    assert (facts["waited"], facts["loads"], facts["evictions"], facts["thrashes"]) == (2, 2, 0, False)
    models = facts["models"]
    assert isinstance(models, list)
    assert [model["requests"] for model in models] == [40, 40]
    assert models[0]["longest_wait_s"] == pytest.approx(10 + 10 / 1.5)
    assert "█" in models[0]["over_time"]


def test_it_ends_with_the_trace_unless_told_for_how_long(files: tuple[Path, Path]) -> None:
    config, trace = files
    seconds = told(config, "--trace", trace)["seconds"]
    assert isinstance(seconds, float) and 40 * 60 - 30 <= seconds < 41 * 60  # the last answer ends a little later
    config.write_text(CONFIG.format(budget="5GiB").replace("footprint: 10GiB", "footprint: 4GiB"))
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00.0000000,100,40\n")
    assert told(config, "--trace", trace)["requests"] == 1


def test_without_a_trace_preloads_are_shown(files: tuple[Path, Path]) -> None:
    config, _ = files
    config.write_text(CONFIG.format(budget="12GiB").replace("footprint: 10GiB", "preload: true"))
    facts = told(config, "--for", "10m")
    assert (facts["requests"], facts["loads"], facts["seconds"]) == (0, 2, 600.0)
    assert "No footprint is known of a, b" in str(facts["assumed"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["missing.yaml"], "cannot be read"),
        (["CONFIG", "--trace", "missing.csv"], "cannot be read"),
        (["CONFIG", "--trace", "CONFIG"], "is no trace"),
        (["CONFIG", "--keep", "2"], "--keep"),
        (["--trace", "TRACE"], "needs the CONFIG"),
    ],
)
def test_what_cannot_begin_is_said(files: tuple[Path, Path], args: list[str], says: str) -> None:
    known = dict(zip(("CONFIG", "TRACE"), map(str, files), strict=True))
    ended = roost("plan", *(known.get(arg, arg) for arg in args))
    assert ended.code == 2
    assert says in " ".join(ended.err.replace("│", " ").split())


BY_DAY = """
policy:
  schedules:
  - {when: "fri 08:00-18:00", timezone: UTC, pin: [a]}
"""


def test_with_an_hour_to_begin_at_windows_open_and_close(files: tuple[Path, Path]) -> None:
    config, trace = files
    config.write_text(config.read_text() + BY_DAY)
    friday, saturday = (
        told(config, "--trace", trace, "--for", "2h", "--starts", f"2026-11-{day}T07:00+00:00") for day in (20, 21)
    )
    # The trace ends with a request for b, after 40 minutes; the window opens after 60.
    assert over_time(friday) == {"a": "█" * 25, "b": " " * 25}
    assert over_time(saturday) == {"a": " " * 25, "b": "█" * 25}


def over_time(facts: dict[str, Any]) -> dict[str, str]:
    return {row["model"]: row["over_time"][35:] for row in facts["models"]}


def test_without_one_schedules_are_left_out_and_it_says_so(files: tuple[Path, Path]) -> None:
    config, trace = files
    config.write_text(config.read_text() + BY_DAY)
    ended = roost("plan", str(config), "--trace", str(trace), "--for", "1h")
    assert "Schedules are left out. Say when it begins" in " ".join(ended.out.split())


def test_a_beginning_that_is_none_and_a_zone_that_is_not_known(files: tuple[Path, Path]) -> None:
    config, _ = files
    ended = roost("plan", str(config), "--starts", "tomorrow")
    assert (ended.code, '"tomorrow" is no moment' in ended.err) == (2, True)
    config.write_text(config.read_text() + BY_DAY.replace("timezone: UTC", "timezone: Europe/Berlyn"))
    ended = roost("plan", str(config), "--starts", "2026-11-20")
    assert ended.code == 2 and 'Did you mean "Europe/Berlin"?' in ended.err


def test_it_learns_from_the_trace_as_a_running_roost_does(files: tuple[Path, Path]) -> None:
    config, trace = files

    def reasons() -> str:
        orders: Any = told(config, "--trace", trace, "--for", "1h")["story"]
        return "; ".join(order["reason"] for order in orders)

    assert "likely wanted again in" in reasons()
    config.write_text(config.read_text() + "policy: {eviction: lru}\n")
    assert "least recently used" in reasons() and "likely" not in reasons()


HOSTED = """\
hosts: {h: {url: "http://h:1", max_resident: 1}}
models: {a: {inside: h}, b: {inside: h}}
"""


def test_places_in_a_server_are_shown_and_kept_to(files: tuple[Path, Path]) -> None:
    config, trace = files
    config.write_text(HOSTED)
    facts: Any = told(config, "--trace", trace, "--for", "1h")
    assert facts["bounds"] == ["Bound: 1 at once in h (hosts.h.max_resident) of a, b."]
    assert (facts["thrashes"], facts["enough"]) == (True, "hosts.h.max_resident 2")
    assert sum(model["evicted"] for model in facts["models"]) == facts["evictions"]
    assert "Models that a server lists by itself are left out: in h" in str(facts["assumed"])


def test_without_a_trace_it_says_so_and_shows_what_is_known_of_the_models(files: tuple[Path, Path]) -> None:
    config, _ = files
    said = " ".join(roost("plan", str(config)).out.split())
    assert "There are no requests: shown is what preload, pins and schedules bring up" in said
    assert "│ a │ 10.0 GiB │ 17 s │" in said
    assert "evicted" not in said and "0 requests" not in said


def test_what_is_left_out_is_named(files: tuple[Path, Path]) -> None:
    config, _ = files
    config.write_text(
        "server: {keys: [{name: n, key: k, weight: 2}]}\n"
        "models:\n"
        "  a: {engine: vllm, weights: org/a, adapters: {sql: {path: org/sql}}}\n"
        "  b: {engine: vllm, weights: org/b, fallback: [a]}\n"
    )
    said = str(told(config)["assumed"])
    assert "Adapters are left out (sql): only their bases get requests." in said
    assert "Fallbacks are left out: who cannot get b is refused." in said
    assert "Weights and priorities of keys are left out" in said


def test_what_earlier_runs_measured_counts_and_is_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    config, trace = files
    config.write_text("server: {name: here}\n" + CONFIG.format(budget="24GiB"))
    folder = tmp_path / "state" / "roost" / "here"
    folder.mkdir(parents=True)
    with closing(open_for_writing(folder / FILE, 0.0)) as database:
        kept = json.dumps({"back_s": {"load": 99.0}, "kept_at": 0.0})
        database.execute("INSERT INTO kept (kind, key, value, wall) VALUES ('learned', 'a', ?, 0)", (kept,))
    facts: Any = told(config, "--trace", trace, "--for", "1h")
    waits = [model["longest_wait_s"] for model in facts["models"]]
    assert waits == [pytest.approx(99.0), pytest.approx(10 + 10 / 1.5)]
    assert "Earlier runs measured (" in facts["assumed"][0] and "a load 99 s." in facts["assumed"][0]
    assert "where nothing was measured" in facts["assumed"][1]
