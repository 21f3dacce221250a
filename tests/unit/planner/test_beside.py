"""Groups, matrix, and other reasons for which a model comes up or yields, on views made by hand. `now` is 1000."""

from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.memory_spec import GroupSpec, MatrixSpec, MemorySpec
from roost.core.plan import Drain, Load, Plan, Stop
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Revived
from roost.core.view import Goal, ModelView, ReplicaView, Wish
from tests.unit.planner.test_plan import ASLEEP, COLD, DRAINING, GIB, QUIET, READY, kinds, model, planned, sized

SWAP = MemorySpec(groups={"big": GroupSpec(members=("a", "b", "c"))})
OPEN = GroupSpec(members=("x", "y"), swap=False, exclusive=False)


def grouped(**groups: GroupSpec) -> MemorySpec:
    return MemorySpec(groups=groups)


def matrix(*sets: str, **costs: int) -> MemorySpec:
    named = {f"s{number}": text for number, text in enumerate(sets, 1)}
    return MemorySpec(matrix=MatrixSpec(sets=named, evict_costs=costs))


def sentence(made: Plan, name: str = "a") -> str:
    return made.blocked[name].sentence


def test_a_group_runs_one_member_at_a_time() -> None:
    made = planned(model("a", waiting_since=990.0), model("b", READY), memory=SWAP)
    (drain,) = made.actions
    assert isinstance(drain, Drain)
    assert (drain.replica, drain.goal) == ("b/0", Goal.ASLEEP)
    assert str(drain.reason) == "makes way for 'a': group \"big\" runs one member at a time; last used 100 s ago"
    assert sentence(made) == 'Model "a" waits until "b" sleeps: group "big" runs one member at a time.'


def test_who_waits_for_a_busy_member_is_told_so() -> None:
    busy = model("b", DRAINING, in_flight=2, drain_goal=Goal.ASLEEP)
    made = planned(model("a", waiting_since=990.0), busy, memory=SWAP)
    assert made.actions == ()
    assert sentence(made) == 'Model "a" waits until "b" is idle: group "big" runs one member at a time.'


def test_a_member_that_cannot_sleep_is_stopped_and_so_are_all_by_policy() -> None:
    sleepless, able = model("b", READY, sleep_levels=()), model("b", READY)
    for member, policy in ((sleepless, PolicySpec()), (able, PolicySpec(evict_by="unload"))):
        made = planned(model("a", waiting_since=990.0), member, memory=SWAP, policy=policy)
        (drain,) = made.actions
        assert isinstance(drain, Drain)
        assert drain.goal is Goal.STOPPED
        assert 'until "b" has stopped' in sentence(made)


def test_asleep_members_do_not_count() -> None:
    assert kinds(planned(model("a", waiting_since=990.0), model("b", ASLEEP), memory=SWAP)) == [(Load, "a")]


def test_models_in_no_group_are_a_group_of_their_own() -> None:
    made = planned(model("x", waiting_since=990.0), model("y", READY), model("b", READY), memory=SWAP)
    assert kinds(made) == [(Drain, "y"), (Drain, "b")]
    assert '"y" sleeps: models in no group run one at a time; and until "b" sleeps: models in no group run beside ' in (
        sentence(made, "x")
    )


def test_persistent_members_yield_to_their_own_group_only() -> None:
    kept = GroupSpec(members=("x", "y"), persistent=True)
    memory = grouped(big=GroupSpec(members=("a",)), kept=kept)
    assert kinds(planned(model("a", waiting_since=990.0), model("x", READY), memory=memory)) == [(Load, "a")]
    assert kinds(planned(model("y", waiting_since=990.0), model("x", READY), memory=memory)) == [(Drain, "x")]


def test_exclusivity_is_one_way() -> None:
    memory = grouped(big=GroupSpec(members=("a",)), open=OPEN)
    up = planned(model("x", waiting_since=990.0), model("a", READY), model("y", READY), memory=memory)
    assert kinds(up) == [(Load, "x")]
    down = planned(model("a", waiting_since=990.0), model("x", READY), model("y", READY), memory=memory)
    assert kinds(down) == [(Drain, "x"), (Drain, "y")]


@pytest.mark.parametrize("memory", [SWAP, matrix("a", "b")])
def test_a_pinned_model_never_yields_to_a_rule(memory: MemorySpec) -> None:
    made = planned(model("a", waiting_since=990.0), model("b", READY, pinned=True), memory=memory)
    assert made.actions == ()
    assert made.blocked["a"].final
    assert sentence(made).startswith('Model "a" cannot be awake beside "b" (pinned): ')
    assert sentence(made).endswith("Unpin or unload it.")


def test_residency_binds_and_nobody_goes_in_vain() -> None:
    """`b` must stay a while, so `y` need not go yet either."""
    memory = grouped(big=GroupSpec(members=("a", "b")), open=OPEN)
    fresh = model("b", READY, became_ready_at=995.0)
    made = planned(
        model("a", waiting_since=990.0), fresh, model("y", READY), memory=memory, policy=PolicySpec(residency=20.0)
    )
    assert made.actions == ()
    assert made.next_check_at == 1015.0
    assert '"b" may yield in 15 s (policy.residency): group "big" runs one member at a time' in sentence(made)
    assert '; and until "y" yields: group "big" is exclusive and runs beside persistent groups only.' in sentence(made)


def test_a_member_whose_turn_it_is_is_waited_for() -> None:
    turn = model("b", READY, waiting_since=980.0, became_ready_at=985.0, in_flight=1)
    made = planned(model("a", waiting_since=990.0), turn, memory=SWAP)
    assert made.actions == ()
    assert 'until "b" is idle' in sentence(made)


def test_an_order_for_the_other_is_waited_for() -> None:
    wish = Wish(goal=Goal.READY, by="cli", asked_at=950.0)
    made = planned(model("a", waiting_since=990.0), model("b", READY, wish=wish), memory=SWAP)
    assert 'until "b" has done what cli asked for' in sentence(made)


def test_the_older_want_comes_first() -> None:
    """While `b` goes for `a`, `c` waits for a's turn and takes nobody down."""
    made = planned(
        model("c", waiting_since=995.0),
        model("a", waiting_since=990.0),
        model("b", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP),
        memory=SWAP,
    )
    assert made.actions == ()
    expected = 'Model "c" waits until older requests for "a" are answered: group "big" runs one member at a time.'
    assert sentence(made, "c") == expected


def test_whom_the_older_one_would_take_down_does_not_slip_in() -> None:
    """By its own group's rule `x` might come up beside `a`; but `a` waits, and would take it down again."""
    memory = grouped(big=GroupSpec(members=("a", "b")), open=OPEN)
    fleet = (
        model("x", waiting_since=995.0),
        model("a", waiting_since=990.0),
        model("b", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP),
    )
    made = planned(*fleet, memory=memory)
    assert made.actions == ()
    assert 'older requests for "a" are answered' in sentence(made, "x")


def test_nothing_goes_for_one_whose_turn_it_is_not() -> None:
    made = planned(
        model("a", waiting_since=990.0),
        model("b", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP),
        model("x", waiting_since=995.0),
        model("y", READY),
        memory=matrix("a & y", "x"),
    )
    assert made.actions == ()
    assert 'older requests for "a" are answered' in sentence(made, "x")


def twin(name: str, *states: State, waiting_since: float | None = None) -> ModelView:
    """A model with several replicas."""
    parts = tuple(
        ReplicaView(
            id=f"{name}/{n}",
            model=name,
            state=state,
            since=900.0,
            sleep_levels=(1,),
            became_ready_at=900.0,
            in_flight=1,
        )
        for n, state in enumerate(states)
    )
    waiting = int(waiting_since is not None)
    return ModelView(name=name, spec=QUIET, replicas=parts, waiting=waiting, oldest_wait_at=waiting_since)


def test_every_replica_of_a_member_goes_and_none_more_comes() -> None:
    made = planned(model("a", waiting_since=960.0), twin("b", READY, READY), memory=SWAP)
    assert [action.replica for action in made.actions] == ["b/0", "b/1"]
    crowded = twin("b", READY, COLD, waiting_since=980.0)  # its turn, so it serves on with what it has
    assert planned(model("a", waiting_since=990.0), crowded, memory=SWAP).actions == ()
    assert [action.replica for action in planned(crowded, memory=SWAP).actions] == ["b/1"]


def test_the_cheapest_way_is_taken() -> None:
    running = (model("b", READY), model("c", READY))
    made = planned(model("a", waiting_since=990.0), *running, memory=matrix("a & c", "a & b", b=5))
    assert kinds(made) == [(Drain, "c")]
    assert 'set "s2" of memory.matrix does not allow them together' in str(made.actions[0].reason)
    tied = planned(model("a", waiting_since=990.0), *running, memory=matrix("a & c", "a & b"))
    assert kinds(tied) == [(Drain, "b")]


def test_the_way_once_taken_is_kept() -> None:
    """`c` is on its way down; taking `b` down now, too, would be in vain."""
    going = model("c", State.SUSPENDING)
    made = planned(model("a", waiting_since=990.0), model("b", READY), going, memory=matrix("a & c", "a & b", b=5))
    assert made.actions == ()
    assert sentence(made).startswith('Model "a" waits until "c" sleeps: set "s2"')


def test_a_pinned_model_decides_the_set() -> None:
    running = (model("b", READY), model("c", READY, pinned=True))
    made = planned(model("a", waiting_since=990.0), *running, memory=matrix("a & c", "a & b", b=5))
    assert kinds(made) == [(Drain, "b")]


def test_beside_a_pinned_model_or_an_older_want_is_to_wait() -> None:
    """Not with both, but with the pinned one it may be later."""
    made = planned(
        model("w", waiting_since=990.0),
        model("a", waiting_since=995.0),
        model("b", DRAINING, in_flight=1, drain_goal=Goal.ASLEEP),
        model("f", READY, pinned=True),
        memory=matrix("a & f", "a & w", "w & f", "b & f"),
    )
    assert not made.blocked["a"].final
    assert 'older requests for "w" are answered' in sentence(made)


def test_a_model_in_no_set_runs_alone() -> None:
    made = planned(model("z", waiting_since=990.0), model("a", READY), model("b", READY), memory=matrix("a & b"))
    assert kinds(made) == [(Drain, "a"), (Drain, "b")]
    assert '"z" is in no set of memory.matrix and runs alone' in sentence(made, "z")
    assert kinds(planned(model("a", waiting_since=990.0), model("z", READY), memory=matrix("a & b"))) == [(Drain, "z")]


def test_rules_and_bytes_both_bind() -> None:
    """`b` goes for the rule; it frees too little, so `x`, whom the rule does not mind, goes as well."""
    memory = MemorySpec(
        devices={"gpu0": 40 * GIB}, groups={**SWAP.groups, "open": GroupSpec(members=("x",), persistent=True)}
    )
    fleet = (model("b", READY, spec=sized(10)), model("x", READY, spec=sized(20)))
    made = planned(model("a", spec=sized(30), waiting_since=990.0), *fleet, memory=memory)
    assert kinds(made) == [(Drain, "b"), (Drain, "x")]
    small = planned(model("a", spec=sized(20), waiting_since=990.0), *fleet, memory=memory)
    assert kinds(small) == [(Drain, "b")]
    assert not planned(model("a", spec=sized(20), waiting_since=990.0), fleet[1], memory=memory).blocked


def test_a_victim_by_rule_is_stopped_where_its_sleep_frees_too_little() -> None:
    memory = MemorySpec(devices={"gpu0": 40 * GIB}, groups=SWAP.groups)
    made = planned(
        model("a", spec=sized(38), waiting_since=990.0), model("b", READY, spec=sized(20, asleep=5)), memory=memory
    )
    (drain,) = made.actions
    assert isinstance(drain, Drain)
    assert drain.goal is Goal.STOPPED


def test_no_rule_eviction_while_bytes_cannot_come_free() -> None:
    memory = MemorySpec(
        devices={"gpu0": 40 * GIB}, groups={**SWAP.groups, "open": GroupSpec(members=("x",), persistent=True)}
    )
    fresh = model("x", READY, spec=sized(20), became_ready_at=995.0)
    made = planned(
        model("a", spec=sized(30), waiting_since=990.0),
        model("b", READY, spec=sized(10)),
        fresh,
        memory=memory,
        policy=PolicySpec(residency=20.0),
    )
    assert made.actions == ()
    assert "10.0 GiB more on gpu0" in sentence(made)


def test_preload_takes_nobody_down_and_only_one_member_comes() -> None:
    spec = sized(0, preload=True)
    members = [model(name, spec=spec, since=900.0) for name in "abc"]
    assert kinds(planned(*members, memory=SWAP)) == [(Load, "a")]
    assert kinds(planned(model("a", READY), *members[1:], memory=SWAP)) == []


def test_what_runs_elsewhere_and_cannot_sleep_is_beside_everybody() -> None:
    peer = model("b", READY, owned=False, sleep_levels=())
    for memory in (SWAP, matrix("a", "b"), MemorySpec(max_resident=1)):
        assert kinds(planned(model("a", waiting_since=990.0), peer, memory=memory)) == [(Load, "a")]


def test_one_at_a_time_counts_no_sleepers() -> None:
    asleep = [model(name, ASLEEP) for name in "bcd"]
    memory = MemorySpec(max_resident=1)
    assert kinds(planned(model("a", waiting_since=990.0), *asleep, memory=memory)) == [(Load, "a")]
    up = planned(model("a", waiting_since=990.0), *asleep, model("e", READY), memory=memory)
    assert kinds(up) == [(Drain, "e")]


@pytest.mark.parametrize(
    ("state", "seen", "comes"),
    [
        (COLD, {}, True),
        (State.BACKOFF, {"retry_at": 999.0}, True),
        (State.BACKOFF, {"retry_at": 1010.0}, False),
        (State.FAILED, {"retry_at": 999.0}, False),
        (State.STOPPING, {}, False),
        (COLD, {"owned": False}, False),
    ],
)
def test_what_was_stopped_to_be_started_afresh_comes_up(state: State, seen: dict[str, Any], comes: bool) -> None:
    made = planned(model("a", state, revive=True, last_error="step 2 of 3 answered 500", **seen), auto=False)
    assert kinds(made) == ([(Load, "a")] if comes else [])
    if comes:
        assert made.actions[0].reason == Revived(cause="step 2 of 3 answered 500")
        assert str(made.actions[0].reason) == "started afresh after: step 2 of 3 answered 500"
    if seen.get("retry_at") == 1010.0:
        assert made.next_check_at == 1010.0


def test_a_revival_takes_nobody_down_and_yields_to_orders() -> None:
    assert kinds(planned(model("a", revive=True), model("b", READY), memory=SWAP)) == []
    assert kinds(planned(model("a", revive=True), model("b", READY), memory=MemorySpec(max_resident=1))) == []
    wish = Wish(goal=Goal.STOPPED, by="cli", asked_at=999.0)
    assert kinds(planned(model("a", revive=True, wish=wish))) == []


def test_waiters_that_may_not_wake_keep_it_from_yielding_in_their_turn() -> None:
    """Requests of a model with `wake_on_request: false` that wait for a free place."""

    def judged(onlookers: int, since: float) -> Plan:
        busy = model("b", READY, became_ready_at=965.0, onlookers=onlookers)
        return planned(model("a", waiting_since=since), busy, memory=MemorySpec(max_resident=1))

    assert kinds(judged(2, since=975.0)) == []
    assert kinds(judged(0, since=975.0)) == [(Drain, "b")]
    assert kinds(judged(2, since=969.0)) == [(Drain, "b")]


def test_a_sleeper_of_the_newcomer_may_be_stopped_for_bytes_beside_rules() -> None:
    memory = MemorySpec(devices={"gpu0": 40 * GIB}, groups=SWAP.groups)
    made = planned(
        model("a", spec=sized(40), waiting_since=990.0), model("b", ASLEEP, spec=sized(20, asleep=5)), memory=memory
    )
    assert kinds(made) == [(Stop, "b")]
