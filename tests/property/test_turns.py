"""Fairness over scripts: nobody starves, nobody thrashes, everybody hears in time, shares come out as weights.

Engines take virtual time and obey; what varies is who asks for what and when, classes, keys, turns and limits.
"""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from roost import clock
from roost.core.memory_spec import GroupSpec, MemorySpec
from roost.core.plan import Action, Drain
from roost.core.policy_spec import PolicySpec, Priority
from roost.core.reason import Evict
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, QueueSpec, RoostSpec, TimeoutsSpec
from tests.property.test_planner_rounds import BOUNDED
from tests.support.fleet import Bench, Client, FakeOwner, pause
from tests.support.virtual import run

START, SLEEP = 5.0, 0.5
SLACK = 1.0
"""For rounds that wait for their rate, and for the sweep."""
KEYS = (
    None,
    KeySpec(name="one", key="1"),
    KeySpec(name="two", key="2", weight=2.0),
    KeySpec(name="vip", key="3", priority=Priority.HIGH),
    KeySpec(name="batch", key="4", priority=Priority.LOW),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    wait_s: float
    who: int
    count: int = 1
    hold_s: float = 1.0
    key: int = 0
    patience_s: float | None = None
    leaves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    spec: RoostSpec
    asks: tuple[Ask, ...]


memories = st.sampled_from(
    [
        MemorySpec(max_resident=1),
        MemorySpec(devices={"gpu0": 10}),
        MemorySpec(groups={"all": GroupSpec(members=("m0", "m1", "m2", "m3"))}),
    ]
)


@st.composite
def cases(draw: st.DrawFn, *, mixed: bool) -> Case:
    """One place for two to four models. `mixed`: with classes, keys, short deadlines and clients that leave."""
    count = draw(st.integers(2, 4))
    priorities = st.sampled_from([*Priority, Priority.NORMAL]) if mixed else st.just(Priority.NORMAL)
    models = {
        f"m{number}": ModelSpec(
            command="engine",
            footprint=10,
            concurrency=draw(st.sampled_from([None, 1, 2])),
            sleep_after=None,
            priority=draw(priorities),
            queue=QueueSpec(size=500, max_wait=draw(st.sampled_from([20.0, 60.0])) if mixed else 100_000.0),
        )
        for number in range(count)
    }
    ask = st.builds(
        Ask,
        wait_s=st.sampled_from([0.0, 0.0, 0.2, 1.0, 4.0]),
        who=st.integers(0, count - 1),
        count=st.sampled_from([1, 1, 3, 20]),
        hold_s=st.sampled_from([0.0, 0.3, 1.0]),
        key=st.integers(0, len(KEYS) - 1) if mixed else st.just(0),
        patience_s=st.sampled_from([None, None, 3.0, 12.0]) if mixed else st.none(),
        leaves=st.sampled_from([False, False, False, True]) if mixed else st.just(False),
    )
    policy = PolicySpec(turn=draw(st.sampled_from([0.0, 2.0, 10.0])), check_interval=1e9)
    spec = RoostSpec(models=models, memory=draw(memories), policy=policy)
    return Case(spec=spec, asks=tuple(draw(st.lists(ask, min_size=5, max_size=25))))


def play(case: Case, rest_s: float) -> tuple[Bench, list[str]]:
    """Run to the end; what was ordered against a turn."""
    broken: list[str] = []

    async def main() -> Bench:
        bench = Bench(case.spec)

        def see(owner: FakeOwner, action: Action) -> None:
            if isinstance(action, Drain) and isinstance(action.reason, Evict):
                broken.extend(_against_its_turn(bench, owner, action.reason))

        for owner in bench.owners.values():
            owner.watch = see
        async with bench:
            for ask in case.asks:
                asked = [
                    bench.ask(f"m{ask.who}", ask.hold_s, key=KEYS[ask.key], patience_s=ask.patience_s)
                    for _ in range(ask.count)
                ]
                if ask.leaves:
                    bench.leave(asked[0])
                await pause(ask.wait_s)
            await bench.rest(rest_s)
        return bench

    return run(main(), limit_s=1_000_000.0), broken


def _against_its_turn(bench: Bench, owner: FakeOwner, reason: Evict) -> list[str]:
    """A model with something to do goes on for its turn, unless a higher class comes."""
    lane, newcomer = bench.control.gate.lane(owner.model), bench.control.gate.lane(reason.for_model)
    if not lane.depth and not bench.control.gate.seat(owner.id).in_flight:
        return []
    classes = list(Priority)
    comes = classes.index(newcomer.queue.highest or newcomer.spec.priority)
    serves = classes.index(lane.queue.highest or lane.spec.priority)
    if comes < serves or (lane.depth and comes < classes.index(lane.spec.priority)):
        return []
    if lane.depth and serves < comes:
        return [f"{clock.now():.2f}: {owner.id} yields to a lower class ({reason})"]
    assert owner.became_ready_at is not None
    turn = min(bench.spec.policy.turn, newcomer.spec.queue.max_wait / 2)
    if clock.now() < owner.became_ready_at + turn:
        return [f"{clock.now():.2f}: {owner.id} yields within its turn ({reason})"]
    return []


def longest_unserved(clients: list[Client]) -> float:
    """The longest time for which somebody waited for a model and nobody of it was let in."""
    longest = 0.0
    for model in {client.model for client in clients}:
        mine = [client for client in clients if client.model == model]
        grants = sorted(client.granted_at for client in mine if client.granted_at is not None)
        for client in mine:
            after = next(moment for moment in grants if moment >= client.came_at)
            longest = max(longest, after - client.came_at)
    return longest


@BOUNDED
@given(cases(mixed=False))
def test_nobody_starves_and_nobody_thrashes(case: Case) -> None:
    """Within the turns of all others some of a model's requests are let in; and a model with work keeps its turn."""
    bench, broken = play(case, rest_s=20_000.0)
    assert broken == []
    assert {client.outcome for client in bench.clients} == {"served"}
    swap = SLEEP + START + SLACK
    others = len(case.spec.models) - 1
    assert longest_unserved(bench.clients) <= others * (case.spec.policy.turn + 2.0 + swap) + swap


@BOUNDED
@given(cases(mixed=True))
def test_everybody_is_served_or_told_why_in_time(case: Case) -> None:
    """Whatever the classes, keys and deadlines: let in, or refused with a reason, within the longest wait."""
    bench, broken = play(case, rest_s=2_000.0)
    assert broken == []
    for client in bench.clients:
        assert client.outcome in ("served", "refused", "gone"), client
        limit = case.spec.models[client.model].queue.max_wait + SLACK
        if client.granted_at is not None:
            assert client.granted_at - client.came_at <= limit
        elif client.refusal is not None and client.refused_at is not None:
            assert client.refused_at - client.came_at <= limit
            assert client.refusal.status == 503
            assert len(client.refusal.message) > 20
            assert client.refusal.retry_after_s is not None


@BOUNDED
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=2, max_size=4),
    limit=st.sampled_from([1, 2, 5]),
    hold_s=st.sampled_from([0.2, 1.0]),
)
def test_shares_come_out_as_weights(weights: list[float], limit: int, hold_s: float) -> None:
    """While all of them wait, each key is served its share, to within one request and one of each slot."""
    keys = [KeySpec(name=str(n), key=str(n), weight=weight) for n, weight in enumerate(weights)]

    async def main() -> dict[str, int]:
        spec = RoostSpec(models={"m": ModelSpec(command="e", concurrency=limit, queue=QueueSpec(size=1000))})
        async with Bench(spec) as bench:
            asked = {key.name: [bench.ask("m", hold_s, key=key) for _ in range(80)] for key in keys}
            await pause(START + hold_s * 40 / limit - hold_s / 2)
            return {name: sum(c.granted_at is not None for c in clients) for name, clients in asked.items()}

    granted = run(main())
    whole = sum(granted.values())
    for key in keys:
        assert abs(granted[key.name] - whole * key.weight / sum(weights)) <= 2.0, granted


@BOUNDED
@given(
    holds=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.5, 40.0, 5000.0])), min_size=3, max_size=12),
    turn=st.sampled_from([0.0, 5.0]),
)
def test_with_cuts_service_is_bounded_whatever_is_asked(holds: list[tuple[int, float]], turn: float) -> None:
    """Answers that never end hold nobody up for longer than a turn and a drain."""
    spec = RoostSpec(
        models={
            f"m{n}": ModelSpec(
                command="e",
                sleep_after=None,
                timeouts=TimeoutsSpec(drain=10.0),
                queue=QueueSpec(size=64, max_wait=100_000.0),
            )
            for n in range(3)
        },
        memory=MemorySpec(max_resident=1),
        policy=PolicySpec(turn=turn, on_drain_deadline="cut", check_interval=1e9),
    )
    asks = tuple(Ask(wait_s=0.5, who=who, hold_s=hold_s) for who, hold_s in holds)
    bench, _ = play(Case(spec=spec, asks=asks), rest_s=6_000.0)
    assert {client.outcome for client in bench.clients} == {"served"}
    swap = SLEEP + START + SLACK
    assert longest_unserved(bench.clients) <= 2 * (turn + 10.0 + swap) + swap
