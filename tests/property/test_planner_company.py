"""Groups and matrix over generated fleets, against every combination written out."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.lifecycle import RESIDENT, State
from roost.core.matrix import compiled
from roost.core.memory_spec import GroupSpec, MatrixSpec, MemorySpec
from roost.core.plan import Drain, Load, Wake
from roost.core.reason import Evict
from roost.core.spec import ModelSpec
from roost.core.view import FleetView, Goal, ModelView, Policy, ReplicaView
from roost.planner.plan import plan
from roost.planner.sets import best
from tests.property.test_planner_views import NOW, views
from tests.support.beside import against, cheapest, group_specs, matrix_specs, written_out

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=400)
MODELS = [f"m{number}" for number in range(6)]
_DOWNWARDS = {State.DRAINING, State.SUSPENDING, State.STOPPING}
memories = st.one_of(
    group_specs(MODELS[:5]).map(lambda groups: MemorySpec(groups=groups)),
    matrix_specs(MODELS[:5]).map(lambda matrix: MemorySpec(matrix=matrix)),
)


def idle_fleet(memory: MemorySpec, newcomer: str, running: set[str]) -> FleetView:
    """The newcomer is wanted, the running ones are idle, the others are cold."""
    spec = ModelSpec(command="engine", sleep_after=None)
    found = [
        ModelView(
            name=name,
            spec=spec,
            replicas=(
                ReplicaView(
                    id=f"{name}/0",
                    model=name,
                    state=State.READY if name in running else State.COLD,
                    since=900.0,
                    sleep_levels=(1,),
                    became_ready_at=900.0 if name in running else None,
                    last_used_at=950.0,
                ),
            ),
            waiting=int(name == newcomer),
            oldest_wait_at=990.0 if name == newcomer else None,
        )
        for name in MODELS
    ]
    return FleetView(now=NOW, models=tuple(found), memory=memory)


@QUICK
@given(
    matrix=matrix_specs(MODELS), newcomer=st.sampled_from(MODELS), others=st.sets(st.sampled_from(MODELS), max_size=5)
)
def test_the_cheapest_go_and_of_equals_the_set_written_first(
    matrix: MatrixSpec, newcomer: str, others: set[str]
) -> None:
    running = others - {newcomer}
    expected = cheapest(matrix, newcomer, running, MODELS)
    made = plan(idle_fleet(MemorySpec(matrix=matrix), newcomer, running), Policy())
    drained = {action.replica.removesuffix("/0") for action in made.actions if isinstance(action, Drain)}
    assert drained == expected
    started = [action.replica for action in made.actions if isinstance(action, Load)]
    assert started == ([] if expected else [f"{newcomer}/0"])
    assert (newcomer in made.blocked) is bool(expected)


@QUICK
@given(groups=group_specs(MODELS), newcomer=st.sampled_from(MODELS), others=st.sets(st.sampled_from(MODELS)))
def test_groups_take_down_whom_they_say(groups: dict[str, GroupSpec], newcomer: str, others: set[str]) -> None:
    running = others - {newcomer}
    memory = MemorySpec(groups=groups)
    made = plan(idle_fleet(memory, newcomer, running), Policy())
    drains = [action for action in made.actions if isinstance(action, Drain)]
    assert {action.replica.removesuffix("/0") for action in drains} == against(memory, newcomer, running, MODELS)
    assert all(isinstance(action.reason, Evict) and action.reason.rule for action in drains)
    assert all(action.goal is Goal.ASLEEP for action in drains)


def _is_up(replica: ReplicaView) -> bool:
    """Somebody may have paused it only (level 0), which gives nothing back."""
    paused = replica.state is State.ASLEEP and replica.level == 0
    return paused or replica.state in RESIDENT - _DOWNWARDS


@QUICK
@given(views(), memories)
def test_nobody_comes_up_beside_whom_it_may_not(given_view: tuple[FleetView, Policy], beside: MemorySpec) -> None:
    """In the order of the plan, counting all that is not yet seen to be down. Bytes and places bind as well."""
    view, policy = given_view
    view = replace(view, memory=replace(view.memory, groups=beside.groups, matrix=beside.matrix))
    present, known = set[str](), {}
    for model in view.models:
        for replica in model.replicas:
            known[replica.id] = model
            pending = view.pending.get(replica.id) == "load"
            if (_is_up(replica) or replica.state in RESIDENT or pending) and (replica.owned or replica.sleep_levels):
                present.add(model.name)
    names = [model.name for model in view.models]
    for action in plan(view, policy).actions:
        if not isinstance(action, Load | Wake):
            continue
        newcomer = known[action.replica]
        mine = next(replica for replica in newcomer.replicas if replica.id == action.replica)
        if not (mine.owned or mine.sleep_levels):
            continue  # takes no place
        up = any(_is_up(r) and (r.owned or r.sleep_levels) for r in newcomer.replicas)
        if not up:
            assert not against(view.memory, newcomer.name, present, MODELS), (action, names)
        present.add(newcomer.name)


@QUICK
@given(views(), memories)
def test_every_waiter_is_told_why_beside_others(given_view: tuple[FleetView, Policy], beside: MemorySpec) -> None:
    view, policy = given_view
    view = replace(view, memory=replace(view.memory, groups=beside.groups, matrix=beside.matrix))
    made = plan(view, policy)
    assert made == plan(view, policy)
    acted = {action.replica for action in made.actions} | set(view.pending)
    settled = {State.COLD, State.ASLEEP, State.BACKOFF, State.FAILED, State.STUCK}
    for model in view.models:
        moving = any(replica.id in acted or replica.state not in settled for replica in model.replicas)
        if model.waiting and not moving:
            assert model.name in made.blocked or model.wish is not None, model
    pinned = {replica.id for model in view.models if model.pinned for replica in model.replicas}
    assert not {a.replica for a in made.actions if isinstance(a, Drain) and isinstance(a.reason, Evict)} & pinned


@QUICK
@given(matrix=matrix_specs(MODELS), weights=st.dictionaries(st.sampled_from(MODELS), st.integers(1, 9)))
def test_the_heaviest_choice_of_a_set(matrix: MatrixSpec, weights: dict[str, int]) -> None:
    """The walk over the tree finds what writing everything out finds, the first of equals."""
    newcomer = MODELS[0]
    ways = [one & {newcomer, *weights} for one in written_out(matrix, MODELS) if newcomer in one]
    found = best(compiled(matrix, MODELS), newcomer, weights)
    if not ways:
        assert found is None
        return
    assert found is not None
    heaviest = max(ways, key=lambda way: sum(weights.get(name, 0) for name in way))
    assert found.kept == heaviest
