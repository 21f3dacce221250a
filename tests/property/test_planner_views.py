"""The planner as a function: any view at all, one plan. Views need not be reachable; the plan must still be sound."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.lifecycle import RESIDENT, Order, State, advance
from roost.core.memory_spec import MemorySpec
from roost.core.plan import Action, Drain, Evict, Load, Ordered, OverBudget, Preload, Sleep, Stop, Undrain, Wake
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, Goal, ModelView, Policy, ReplicaView, Wish
from roost.planner.plan import plan
from roost.planner.room import Room, destination

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
        level=1 if state is State.ASLEEP else None,
        in_flight=in_flight,
        stranded=draw(st.integers(0, in_flight)) if state is State.ASLEEP else 0,
        became_ready_at=draw(times),
        idle_since=draw(times) if state is State.READY else None,
        last_used_at=draw(times),
        last_sleep_at=draw(times),
        last_load_at=draw(st.sampled_from([None, None, 900.0, 990.0])),
        retry_at=draw(times),
        failures=draw(st.integers(0, 5)),
        drain_goal=goal,
        drain_idle=draining and draw(st.booleans()),
        drain_reason=Ordered(goal=goal, by="x") if goal is not None and draw(st.booleans()) else None,
    )


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
        )
        found.append(
            ModelView(
                name=name,
                spec=spec,
                replicas=tuple(draw(replicas(name, n)) for n in range(draw(st.sampled_from([1, 1, 2, 3])))),
                waiting=waiting,
                oldest_wait_at=draw(past) if waiting else None,
                pinned=draw(st.integers(0, 4)) == 0,
                wish=draw(st.one_of(st.none(), st.none(), wishes)),
            )
        )
    pending = {f"m{draw(st.integers(0, 4))}/0": "load"} if draw(st.integers(0, 4)) == 0 else {}
    memory = MemorySpec(
        max_resident=draw(st.sampled_from([None, 0, 1, 2, 3])),
        devices=draw(st.sampled_from([{}, {"gpu0": 40 * GIB, "gpu1": 60 * GIB}])),
    )
    policy = PolicySpec(
        evict_by=draw(st.sampled_from(["sleep", "unload"])),
        residency=draw(st.sampled_from([0.0, 20.0])),
        max_starts=draw(st.integers(1, 3)),
        launch_delay=draw(st.sampled_from([0.0, 0.0, 30.0])),
        auto_sleep=draw(st.booleans()),
    )
    view = FleetView(now=NOW, models=tuple(found), memory=memory, pending=pending, started_at=draw(past))
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
def test_ups_fit_beside_everything_that_is_still_up(given_view: tuple[FleetView, Policy]) -> None:
    """Never over budget, counted here afresh: what the plan brings up fits before anything it takes down is gone."""
    view, policy = given_view
    made = plan(view, policy).actions
    ups = {action.replica for action in made if isinstance(action, Load | Wake)}
    if not ups:
        return
    everything = by_id(view).values()
    rising = [pair for pair in everything if pair[1].id in ups]
    up = [(m, r) for m, r in everything if r.id in ups or r.state in RESIDENT or view.pending.get(r.id) == "load"]
    if view.memory.max_resident is not None and any(r.owned or r.sleep_levels for _, r in rising):
        assert sum(r.owned or bool(r.sleep_levels) for _, r in up) <= view.memory.max_resident
    room = Room(view)
    loads = {action.replica: action.devices for action in made if isinstance(action, Load)}
    for device, size in view.memory.devices.items():
        at = {r.id: device in (loads[r.id] if loads.get(r.id) else room.where(m, r)) for m, r in everything}
        takers = [m for m, r in rising if at[r.id]]
        held = sum(
            max(m.spec.footprint or 0, m.spec.footprint_asleep)
            if (m, r) in up
            else (m.spec.footprint_asleep if r.state is State.ASLEEP else 0)
            for m, r in everything
            if at[r.id]
        )
        if any((m.spec.footprint or 0) > m.spec.footprint_asleep for m in takers):
            assert held <= size


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
        assert not model.pinned
        newcomer = action.reason.for_model if isinstance(action.reason, Evict) else ""
        # Of the newcomer's own replicas only a sleeping one makes room, for the first that wakes.
        if newcomer != model.name:
            assert model.wish is None
        else:
            assert replica.state is State.ASLEEP or any(other.stranded for other in model.replicas)
        if replica.state is State.READY and replica.became_ready_at is not None:
            assert view.now >= replica.became_ready_at + policy.spec.residency


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
    made, room = plan(view, policy), Room(view)
    known, goals = by_id(view), {action.replica: action for action in made.actions}
    soon = dict.fromkeys(room.budget, 0)
    for model, replica in room.holders:
        after = destination(replica, goals.get(replica.id), view.pending.get(replica.id))
        if after is not None:
            for key, amount in room.frees(model, replica, after).items():
                soon[key] += amount
    assert bool(room.excess(soon)) is bool(made.notes)
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
