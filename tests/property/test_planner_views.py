"""The planner as a function: any view at all, one plan. Views need not be reachable; the plan must still be sound."""

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.footprint import HOST, Footprint, Held
from roost.core.lifecycle import Order, State, advance
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.reason import Ahead, Evict, Ordered, OverBudget, Preload, Scheduled
from roost.core.schedule import BudgetWindow, Window
from roost.core.spec import ModelSpec, QueueSpec
from roost.core.view import DeviceView, FleetView, Goal, ModelView, Policy, ReplicaView, Wish
from roost.planner.census import Census
from roost.planner.plan import plan
from roost.planner.room import Room, budgets, destination
from tests.support.ledger import allowed, footprint, over_budget

NOW = 1000.0
GIB = 2**30
times = st.sampled_from([None, 900.0, 950.0, 990.0, 1005.0])
past = st.sampled_from([900.0, 950.0, 990.0, 1000.0])
ORDERS = {
    Load: Order.LOAD,
    Wake: Order.WAKE,
    Drain: Order.DRAIN,
    Undrain: Order.UNDRAIN,
    Sleep: Order.SLEEP,
    Stop: Order.STOP,
}


@st.composite
def seats(draw: st.DrawFn, state: State) -> dict[str, Any]:
    """Where it runs, what it holds there, and what of it is not yet seen free."""
    ran = draw(st.sampled_from([(), ("gpu0",), ("gpu1",), ("gpu0", "gpu1")]))
    down = state in (State.COLD, State.BACKOFF, State.FAILED)
    seen: dict[str, Any] = {"devices": () if down else ran, "last_devices": ran}
    if ran and (down or state is State.ASLEEP):
        seen["lingering"] = draw(st.sampled_from([0, 0, 0, 8 * GIB]))
    if draw(st.integers(0, 3)) == 0:
        device = draw(st.sampled_from([0, 10 * GIB, 25 * GIB]))
        host = draw(st.sampled_from([0, 4 * GIB]))
        seen["footprint"] = Footprint(
            awake=Held(device, host),
            level1=Held(min(device, GIB), host + draw(st.sampled_from([0, 12 * GIB, 20 * GIB]))),
            level2=Held(min(device, GIB), host),
        )
    return seen


@st.composite
def machine(draw: st.DrawFn, memory: MemorySpec) -> tuple[DeviceView, ...] | None:
    """The devices as they are: others use some of them, and some are held for their owner."""
    if not memory.devices or draw(st.integers(0, 2)) > 0:
        return None
    found = []
    for name, size in memory.devices.items():
        others, back = draw(st.sampled_from([0, 0, 8 * GIB])), draw(st.sampled_from([0, 0, 20 * GIB]))
        until = draw(st.sampled_from([None, 1600.0])) if back else None
        found.append(
            DeviceView(name=name, budget=size - others - back, others=others, held_back=back, held_until=until)
        )
    if memory.host is not None:
        found.append(DeviceView(name=HOST, budget=memory.host))
    return tuple(found)


@st.composite
def replicas(draw: st.DrawFn, model: str, number: int) -> ReplicaView:
    state = draw(st.sampled_from([*State, *[State.READY] * 6, *[State.COLD] * 4, State.ASLEEP]))
    draining = state is State.DRAINING
    busy = state in (State.READY, State.DRAINING, State.ASLEEP)
    in_flight = draw(st.integers(0, 2)) if busy else 0
    goal = draw(st.sampled_from([Goal.ASLEEP, Goal.STOPPED])) if draining else None
    return ReplicaView(
        id=f"{model}/{number}",
        model=model,
        state=state,
        since=draw(past),
        owned=draw(st.sampled_from([True, True, True, False])),
        sleep_levels=draw(st.sampled_from([(), (1,), (1, 2)])),
        level=draw(st.sampled_from([1, 1, 2, None, 0])) if state is State.ASLEEP else None,
        in_flight=in_flight,
        stranded=draw(st.integers(0, in_flight)) if state is State.ASLEEP else 0,
        became_ready_at=draw(times),
        idle_since=draw(times) if state is State.READY else None,
        last_used_at=draw(times),
        last_sleep_at=draw(times),
        last_load_at=draw(st.sampled_from([None, None, 900.0, 990.0])),
        retry_at=draw(times),
        failures=draw(st.integers(0, 5)),
        **draw(seats(state)),
        drain_goal=goal,
        drain_idle=draining and draw(st.booleans()),
        drain_reason=Ordered(goal=goal, by="x") if goal is not None and draw(st.booleans()) else None,
    )


windows = st.builds(
    Window,
    when=st.just("fri 08:00-18:00"),
    timezone=st.sampled_from(["local", "UTC"]),
    since=past,
    until=st.sampled_from([None, 1600.0]),
)


@st.composite
def scheduled(draw: st.DrawFn, view: FleetView) -> FleetView:
    """The same while windows are open: they pin, send to sleep, and set budgets."""
    models = []
    for model in view.models:
        if model.pinned:
            model = replace(model, called=draw(st.none() | windows))
        elif draw(st.integers(0, 3)) == 0:
            model = replace(model, rests=draw(windows))
        models.append(model)
    usual = st.sampled_from([None, 0, 40 * GIB, 80 * GIB])
    set_by = st.dictionaries(
        st.sampled_from(sorted(view.memory.devices) + ([HOST] if view.memory.host is not None else []) + [""]),
        st.builds(BudgetWindow, window=windows, usual=usual),
    )
    changes_at = draw(st.sampled_from([None, 1001.0, 1600.0]))
    return replace(view, models=tuple(models), windows=draw(set_by), schedule_changes_at=changes_at)


wishes = st.builds(
    Wish,
    goal=st.sampled_from(Goal),
    by=st.just("cli"),
    asked_at=past,
    force_at=st.sampled_from([None, 900.0, 1000.0, 1060.0]),
    level=st.sampled_from([None, None, 1, 2]),
    gone_down=st.frozensets(st.sampled_from(["m0/0", "m0/1", "m1/0", "m1/1", "m2/0"])),
)


@st.composite
def views(draw: st.DrawFn) -> tuple[FleetView, Policy]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        name = f"m{number}"
        waiting = draw(st.integers(0, 2))
        spec = ModelSpec(
            command="engine",
            preload=draw(st.booleans()),
            sleep_after=draw(st.sampled_from([None, 30.0, 300.0])),
            unload_after=draw(st.sampled_from([None, 60.0])),
            footprint=draw(st.sampled_from([None, 10 * GIB, 30 * GIB, 90 * GIB])),
            footprint_asleep=draw(st.sampled_from([0, GIB, 12 * GIB])),
            devices=draw(st.sampled_from([(), ("gpu1",), ("gpu0", "gpu1")])),
            device_count=draw(st.sampled_from([None, None, None, 2])),
            queue=QueueSpec(max_wait=draw(st.sampled_from([600.0, 15.0]))),
        )
        found.append(
            ModelView(
                name=name,
                spec=spec,
                replicas=tuple(draw(replicas(name, n)) for n in range(draw(st.sampled_from([1, 1, 2, 3])))),
                waiting=waiting,
                oldest_wait_at=draw(past) if waiting else None,
                pinned=draw(st.integers(0, 4)) == 0,
                host=draw(st.sampled_from(["", "", "", "srv"])),
                wish=draw(st.one_of(st.none(), st.none(), wishes)),
            )
        )
    pending = {f"m{draw(st.integers(0, 4))}/0": "load"} if draw(st.integers(0, 4)) == 0 else {}
    memory = MemorySpec(
        max_resident=draw(st.sampled_from([None, 0, 1, 2, 3])),
        devices=draw(st.sampled_from([{}, {"gpu0": 40 * GIB, "gpu1": 60 * GIB}])),
        host=draw(st.sampled_from([None, 30 * GIB])),
    )
    policy = PolicySpec(
        evict_by=draw(st.sampled_from(["sleep", "unload"])),
        residency=draw(st.sampled_from([0.0, 20.0])),
        max_starts=draw(st.integers(1, 3)),
        launch_delay=draw(st.sampled_from([0.0, 0.0, 30.0])),
        auto_sleep=draw(st.booleans()),
        last_resort=draw(st.sampled_from([(), (), ("pin",), ("residency",), ("residency", "pin")])),
    )
    view = FleetView(
        now=NOW,
        models=tuple(found),
        memory=memory,
        devices=draw(machine(memory)),
        places=draw(st.sampled_from([{}, {"srv": 1}])),
        pending=pending,
        started_at=draw(past),
    )
    if draw(st.booleans()):
        view = draw(scheduled(view))
    return view, Policy(spec=policy, auto=draw(st.booleans()))


QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=250)


def by_id(view: FleetView) -> dict[str, tuple[ModelView, ReplicaView]]:
    return {replica.id: (model, replica) for model in view.models for replica in model.replicas}


@QUICK
@given(views())
def test_a_plan_is_legal_repeatable_and_orders_once(given_view: tuple[FleetView, Policy]) -> None:
    """Same view, same plan; each order is one its state takes; one per replica; nothing for what is pending."""
    view, policy = given_view
    made = plan(view, policy)
    assert made == plan(view, policy)
    known = by_id(view)
    counted = Counter(action.replica for action in made.actions)
    assert set(counted.values()) <= {1}
    assert not set(counted) & set(view.pending)
    for action in made.actions:
        advance(known[action.replica][1].state, ORDERS[type(action)])
    assert made.next_check_at is None or made.next_check_at > view.now


@QUICK
@given(views())
def test_what_roost_does_not_own_is_never_started_or_stopped(given_view: tuple[FleetView, Policy]) -> None:
    known = by_id(given_view[0])
    for action in plan(*given_view).actions:
        assert known[action.replica][1].owned or isinstance(action, Wake | Sleep | Drain | Undrain)


@QUICK
@given(views())
def test_whoever_waits_is_served_planned_for_or_told_why(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    made = plan(view, policy)
    acted = {action.replica for action in made.actions} | set(view.pending)
    settled = {State.COLD, State.ASLEEP, State.BACKOFF, State.FAILED, State.STUCK}
    for model in view.models:
        moving = any(replica.id in acted or replica.state not in settled for replica in model.replicas)
        if model.waiting and not moving:
            # A standing order to go down that has nothing left to do ends before the next round plans for them.
            assert model.name in made.blocked or model.wish is not None, model


@QUICK
@given(views())
def test_never_over_any_budget(given_view: tuple[FleetView, Policy]) -> None:
    """Counted afresh: what the plan brings up, or puts to sleep in host memory, fits before anything it takes down is
    gone, on each device, in host memory and in each server."""
    view, policy = given_view
    actions = plan(view, policy).actions
    assert over_budget(view, actions) == {}, actions


@QUICK
@given(views())
def test_devices_are_those_it_may_use_and_as_many_as_it_takes(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    known = by_id(view)
    for action in plan(view, policy).actions:
        if isinstance(action, Load) and action.devices:
            spec = known[action.replica][0].spec
            assert set(action.devices) <= set(allowed(view, spec))
            assert len(set(action.devices)) == len(action.devices) == (spec.device_count or 1)
        elif isinstance(action, Load):
            model, replica = known[action.replica]
            each = (replica.footprint or footprint(model.spec)).awake.device
            assert not allowed(view, model.spec) or model.host or not each


@QUICK
@given(views())
def test_victims_are_allowed(given_view: tuple[FleetView, Policy]) -> None:
    """Not pinned, not inside residency, no order standing."""
    view, policy = given_view
    made, known = plan(view, policy), by_id(view)
    evictions = [
        action for action in made.actions if isinstance(action, Drain | Stop) and is_new_eviction(action, known)
    ]
    for action in evictions:
        model, replica = known[action.replica]
        broken = action.reason.last_resort if isinstance(action.reason, Evict) else ""
        assert not model.pinned or broken == "pin"
        newcomer = action.reason.for_model if isinstance(action.reason, Evict) else ""
        # Of the newcomer's own replicas only a sleeping one makes room, for the first that wakes.
        if newcomer != model.name:
            assert model.wish is None
        else:
            assert replica.state is State.ASLEEP or any(other.stranded for other in model.replicas)
        if replica.state is State.READY and replica.became_ready_at is not None and broken != "residency":
            assert view.now >= replica.became_ready_at + policy.spec.residency


@QUICK
@given(views())
def test_pins_and_residency_are_broken_only_where_nothing_else_serves(given_view: tuple[FleetView, Policy]) -> None:
    """Without the leave to do so, the newcomer of such an eviction would be refused, or wait past its deadline."""
    view, policy = given_view
    strict = Policy(spec=replace(policy.spec, last_resort=()), auto=policy.auto)
    known = by_id(view)
    for action in plan(view, policy).actions:
        reason = action.reason
        if not isinstance(reason, Evict) or not reason.last_resort or isinstance(action, Undrain):
            continue
        if known[action.replica][1].state is State.DRAINING:
            continue
        assert reason.last_resort in policy.spec.last_resort
        newcomer = next(model for model in view.models if model.name == reason.for_model)
        alone = replace(view, models=tuple(m if m is newcomer else replace(m, waiting=0) for m in view.models))
        blocked = plan(alone, strict).blocked[newcomer.name]
        if reason.last_resort == "pin":
            assert blocked.final
        else:
            since = newcomer.oldest_wait_at
            stays = (known[action.replica][1].became_ready_at or 0.0) + policy.spec.residency
            assert since is not None
            assert stays > since + newcomer.spec.queue.max_wait


@QUICK
@given(views())
def test_who_waits_for_an_owner_is_told_until_when(given_view: tuple[FleetView, Policy]) -> None:
    """What would fit without the hold is not refused for good; where the end is known, the plan looks again then."""
    view, policy = given_view
    made = plan(view, policy)
    for blocked in made.blocked.values():
        if blocked.code != "held_back":
            continue
        assert not blocked.final
        takers = ("held for its owner", "used by others", "by the schedule")
        assert any(taker in blocked.sentence for taker in takers)
        if blocked.not_before is not None:
            assert made.next_check_at is not None
            assert made.next_check_at <= blocked.not_before


@QUICK
@given(views())
def test_schedules_bring_up_what_they_pin_or_say_why_and_refuse_nobody(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    made = plan(view, policy)
    known, acted = by_id(view), {action.replica for action in made.actions} | set(view.pending)
    resting = {State.COLD, State.ASLEEP, State.BACKOFF}
    for model in view.models:
        if model.called is None or model.wish is not None or model.waiting or not policy.auto:
            continue
        at_rest = all(replica.state in resting and replica.id not in acted for replica in model.replicas)
        if at_rest and not any(replica.stranded for replica in model.replicas):
            told = model.name in made.blocked or any(f'"{model.name}"' in note for note in made.notes)
            assert told, model
        assert model.name not in made.denied
    for action in made.actions:
        model, _ = known[action.replica]
        if isinstance(action.reason, Scheduled) and isinstance(action, Load | Wake):
            assert model.called is not None and policy.auto
        elif isinstance(action.reason, Scheduled) and isinstance(action, Drain):
            assert model.rests is not None and not model.pinned and not model.waiting and model.wish is None
        elif isinstance(action.reason, Preload | Ahead):
            assert model.rests is None


@QUICK
@given(views())
def test_nobody_yields_for_a_model_that_is_up_or_coming(given_view: tuple[FleetView, Policy]) -> None:
    view, policy = given_view
    made, known = plan(view, policy), by_id(view)
    for action in made.actions:
        if is_new_eviction(action, known) and isinstance(action.reason, Evict):
            newcomer = next(m for m in view.models if m.name == action.reason.for_model)
            if any(replica.stranded for replica in newcomer.replicas):
                continue  # no other replica answers the requests that are with it
            states = {replica.state for replica in newcomer.replicas}
            assert not states & {State.READY, State.STARTING, State.WAKING}


@QUICK
@given(views())
def test_settled_orders_have_nothing_left(given_view: tuple[FleetView, Policy]) -> None:
    """One is ready, and nothing is ordered or on its way for the others."""
    view, policy = given_view
    made = plan(view, policy)
    acted = {action.replica for action in made.actions} | set(view.pending)
    for name in made.settled:
        model = next(m for m in view.models if m.name == name)
        assert model.wish is not None
        assert model.wish.goal in (Goal.READY, Goal.RESTARTED)
        assert name not in made.denied
        assert any(replica.state is State.READY for replica in model.replicas)
        assert not acted & {replica.id for replica in model.replicas}
        assert not {replica.state for replica in model.replicas} & {State.STARTING, State.WAKING}


@QUICK
@given(views())
def test_first_starts_keep_their_distance(given_view: tuple[FleetView, Policy]) -> None:
    """At most one preload a round, none too soon, and the plan says when the next one is due."""
    view, policy = given_view
    delay = policy.spec.launch_delay
    known = by_id(view)
    first = [
        action
        for action in plan(view, policy).actions
        if isinstance(action.reason, Preload) and known[action.replica][1].state is State.COLD
    ]
    started = [r.last_load_at for m, r in known.values() if m.spec.preload and r.last_load_at is not None]
    assert not first or not started or view.now >= max(started) + delay
    assert len(first) <= 1 or delay == 0


@QUICK
@given(views())
def test_requests_with_a_sleeper_are_never_cut_and_bring_it_up(given_view: tuple[FleetView, Policy]) -> None:
    """Only an order that is forced, or late enough, takes a sleeper down with its requests."""
    view, policy = given_view
    made = plan(view, policy)
    acted = {action.replica: action for action in made.actions}
    for model, replica in by_id(view).values():
        if replica.state is not State.ASLEEP or not replica.in_flight:
            continue
        action = acted.get(replica.id)
        if isinstance(action, Stop):
            assert isinstance(action.reason, Ordered), action
            late = model.wish is not None and model.wish.force_at is not None and model.wish.force_at <= view.now
            assert late or not replica.stranded
        elif replica.stranded and replica.id not in view.pending:
            assert isinstance(action, Wake) or model.name in made.blocked


@QUICK
@given(views())
def test_a_budget_that_is_exceeded_is_relieved_or_noted(given_view: tuple[FleetView, Policy]) -> None:
    """Whoever goes for it may: not pinned, no order standing, outside residency, at rest. Nobody goes in vain."""
    view, policy = given_view
    made, limits = plan(view, policy), budgets(view)
    room = Room(view, limits, Census().look(view, policy, limits))
    known, goals = by_id(view), {action.replica: action for action in made.actions}
    soon = dict(room.soon)  # what has been given back and is not yet seen free
    for model, replica in room.holders:
        after = destination(replica, goals.get(replica.id), view.pending.get(replica.id))
        if after is not None:
            for key, amount in room.frees(model, replica, after).items():
                soon[key] += amount
    exceeded = [note for note in made.notes if not note.startswith("Model ")]  # those are what schedules want in vain
    assert bool(room.excess(soon)) is bool(exceeded)
    for action in made.actions:
        if not isinstance(action.reason, OverBudget) or isinstance(action, Undrain):
            continue
        model, replica = known[action.replica]
        assert policy.auto
        assert not model.pinned
        assert model.wish is None
        if replica.state is State.READY and replica.became_ready_at is not None:
            assert view.now >= replica.became_ready_at + policy.spec.residency
        after = destination(replica, action, None)
        assert after is not None
        given_back = room.frees(model, replica, after)
        assert any(given_back.get(key, 0) > 0 for key in room.excess({}))


def is_new_eviction(action: Action, known: dict[str, tuple[ModelView, ReplicaView]]) -> bool:
    return isinstance(action.reason, Evict) and known[action.replica][1].state is not State.DRAINING


@QUICK
@given(
    sizes=st.lists(st.sampled_from([0, 5, 10, 20, 30]), min_size=1, max_size=5),
    wanted=st.sampled_from([10, 20, 30, 50]),
    asleep=st.sampled_from([0, 4]),
    max_resident=st.sampled_from([None, 1, 2, 3]),
)
def test_the_fewest_that_do_yield(sizes: list[int], wanted: int, asleep: int, max_resident: int | None) -> None:
    """One newcomer, all others idle: with the victims it fits, with one fewer it would not."""
    specs = [
        ModelSpec(command="x", footprint=size * GIB, footprint_asleep=min(asleep, size) * GIB)
        for size in [wanted, *sizes]
    ]
    found = [
        ModelView(
            name=f"m{number}",
            spec=spec,
            replicas=(
                ReplicaView(
                    id=f"m{number}/0",
                    model=f"m{number}",
                    state=State.READY if number else State.COLD,
                    since=900.0,
                    sleep_levels=(1,),
                    last_used_at=900.0 + number,
                ),
            ),
            waiting=not number,
            oldest_wait_at=None if number else 990.0,
        )
        for number, spec in enumerate(specs)
    ]
    memory = MemorySpec(devices={"gpu0": 60 * GIB}, max_resident=max_resident)
    view = FleetView(now=NOW, models=tuple(found), memory=memory)
    evictions = [action for action in plan(view, Policy()).actions if isinstance(action, Drain)]

    def fits(some: list[Drain]) -> bool:
        goals = {action.replica: action.goal for action in some}
        up = [spec for number, spec in enumerate(specs) if number == 0 or f"m{number}/0" not in goals]
        down = [spec for number, spec in enumerate(specs) if goals.get(f"m{number}/0") is Goal.ASLEEP]
        held = sum(spec.footprint or 0 for spec in up) + sum(spec.footprint_asleep for spec in down)
        return held <= 60 * GIB and (max_resident is None or len(up) <= max_resident)

    assert fits(evictions)
    assert not any(fits([other for other in evictions if other is not one]) for one in evictions)
