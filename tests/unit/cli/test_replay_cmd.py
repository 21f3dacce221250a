"""`roost replay` over journals written by hand: what it compares, says and exits with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from roost import clock
from roost.core.lifecycle import State
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Load, Plan
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Demand
from roost.core.snapshot import Setup, encode_plan, encode_setup, encode_view
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, ModelView, Policy, ReplicaView
from roost.host.database import Database, Decision
from roost.planner.plan import plan
from tests.support.command_line import Ended, roost, write_server

POLICY = Policy(spec=PolicySpec(evict_by="sleep"))


def view(*, waiting: int = 1) -> FleetView:
    """a waits, b has its place and idles."""
    found = []
    for name, state in (("a", State.COLD), ("b", State.READY)):
        replica = ReplicaView(id=f"{name}/0", model=name, state=state, since=900.0, sleep_levels=(1,), idle_since=900.0)
        found.append(ModelView(name=name, spec=ModelSpec(command="x"), replicas=(replica,)))
    found[0] = replace(found[0], waiting=waiting, oldest_wait_at=990.0)
    return FleetView(now=1000.0, models=tuple(found), memory=MemorySpec(max_resident=1))


def decision(made: Plan | None = None, seen: FleetView | None = None) -> Decision:
    """Of today's own plan, or of another one."""
    here = seen or view()
    decided = plan(here, POLICY) if made is None else made
    return Decision(encode_setup(Setup.of(here, POLICY)), encode_plan(decided), encode_view(here))


def journal(folder: Path, *decisions: Decision) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(folder / "memory.db", journal_bytes=1 << 20, journal_age_s=86400.0)
    database.open()
    for each in decisions:
        database.record(lambda each=each: each)  # type: ignore[misc]
    database.close()
    return folder


def replay(folder: Path, *more: str) -> Ended:
    return roost("replay", "--state-dir", str(folder), *more)


OTHER = Plan(actions=(Load(replica="a/0", reason=Demand(waiting=1, waited_s=10.0)),))


def test_the_same_code_decides_the_same(tmp_path: Path) -> None:
    ended = replay(journal(tmp_path, decision(), decision()))
    assert (ended.code, ended.out) == (0, "2 plans: 2 the same, 0 decided otherwise.\n")


def test_where_it_decides_otherwise_both_are_shown(tmp_path: Path) -> None:
    ended = replay(journal(tmp_path, decision(), decision(OTHER)))
    assert ended.code == 1
    assert "plan 2 is decided otherwise:" in ended.out
    assert "  a/0\n    then: load a/0: 1 request waits, the first for 10 s\n    now:  nothing\n" in ended.out
    assert "  b/0\n    then: nothing\n    now:  drain b/0 until asleep: makes a place for 'a'" in ended.out
    assert 'now:  blocked: Model "a" waits until "b" made room.' in ended.out
    assert "plan 1" not in ended.out
    assert ended.out.endswith("2 plans: 1 the same, 1 decided otherwise.\n")


def test_other_words_alone_are_no_other_decision(tmp_path: Path) -> None:
    made = plan(view(), POLICY)
    told = {name: replace(one, sentence="Wait.") for name, one in made.blocked.items()}
    ended = replay(journal(tmp_path, decision(replace(made, blocked=told))))
    assert (ended.code, "1 of them for reasons in other words" in ended.out) == (0, True)


def test_a_config_s_policy_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    config = tmp_path / "roost.yaml"
    config.write_text("policy: {evict_by: unload}\nmodels: {m: {url: 'http://127.0.0.1:9'}}\n")
    folder = journal(tmp_path / "state", decision())
    assert replay(folder).code == 0
    ended = replay(folder, "--config", str(config))
    assert ended.code == 1
    assert "now:  drain b/0 until stopped" in ended.out


def test_what_this_version_cannot_read_is_counted(tmp_path: Path) -> None:
    newer = Decision(b"{}", b'{"actions": [{"action": "teleport"}]}', b"{}")
    ended = replay(journal(tmp_path, newer, decision()))
    assert ended.code == 0
    assert "2 plans: 1 the same, 0 decided otherwise. 1 cannot be read by this version." in ended.out
    assert replay(tmp_path, "--id", "1").code == 2, "nothing was compared"


def test_one_plan_by_its_number(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(OTHER), decision())
    assert replay(folder, "--id", "1").code == 1
    assert replay(folder, "--id", "2").code == 0
    missing = replay(folder, "--id", "3")
    assert (missing.code, "holds no plan 3" in missing.err) == (2, True)


def test_json_has_the_same_facts(tmp_path: Path) -> None:
    ended = replay(journal(tmp_path, decision(), decision(OTHER)), "--json")
    facts = json.loads(ended.out)
    assert ended.code == 1
    assert (facts["plans"], facts["unreadable"], [one["id"] for one in facts["otherwise"]]) == (2, 0, [2])
    assert facts["otherwise"][0]["differences"][0]["now"] == "nothing"


def test_only_as_far_back_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: wall - 7200.0)
    journal(tmp_path, decision())
    monkeypatch.setattr(clock, "wall", lambda: wall)
    ended = replay(tmp_path)
    assert ended.code == 2
    assert "holds no plan of the last 1h; its newest is 2h 00m old" in ended.out
    assert replay(tmp_path, "--since", "3h").code == 0
    wrong = replay(tmp_path, "--since", "yesterday")
    assert (wrong.code, "'yesterday' is not a duration" in wrong.err) == (2, True)


def test_which_state_directory_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    home = tmp_path / "roost"
    assert "There is no journal under" in roost("replay").err
    journal(home / "one", decision())
    assert roost("replay").code == 0, "the only one there is"
    journal(home / "two", decision(OTHER))
    several = roost("replay")
    assert (several.code, "one\n  two" in several.err) == (2, True)
    assert roost("replay", "--instance", "two").code == 1
    assert "holds no journal" in roost("replay", "--instance", "three").err
    write_server(home / "two")
    assert roost("replay").code == 1, "the one that runs"


def test_an_empty_journal_and_a_broken_file_say_so(tmp_path: Path) -> None:
    ended = replay(journal(tmp_path))
    assert (ended.code, "is empty" in ended.out) == (2, True)
    (tmp_path / "memory.db").write_bytes(b"no database" * 100)
    broken = replay(tmp_path)
    assert (broken.code, "cannot be read: file is not a database" in broken.err) == (2, True)
