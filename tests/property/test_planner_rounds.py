"""The planner's safety sentences, held over generated fleets and scripts of events run in simulated rounds.

Owners take virtual time and sometimes fail. Every order is checked at the moment it is given, the clients at the
end: a plan that was right only on paper does not pass.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost import clock
from roost.core.lifecycle import Fact, State
from roost.core.memory_spec import FootprintsSpec, HeldSpec, MemorySpec
from roost.core.plan import Action, Drain, Load, Sleep, Stop, Wake
from roost.core.policy_spec import PolicySpec, ScheduleSpec
from roost.core.reason import Demand, Evict, Idle, OverBudget, Preload, Scheduled
from roost.core.server_spec import KeySpec
from roost.core.spec import ModelSpec, QueueSpec, ReplicaSpec, RestartSpec, RoostSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.tasks import spawn
from tests.support.beside import against, group_specs, matrix_specs
from tests.support.fleet import Bench, Client, FakeOwner, pause
from tests.support.virtual import run
from tests.support.wall import wall

GIB = 2**30
BOUNDED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line of a script: after `wait_s`, `what` happens to the model numbered `who`."""

    wait_s: float
    who: int
    what: str
    hold_s: float
    part: int = 0
    """Which of its replicas, where it is about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    spec: RoostSpec
    sleepers: tuple[tuple[int, ...], ...]
    happenings: tuple[Happening, ...]


QUIET = KeySpec(name="probe", key="k", counts=False)
CALM = ("ask", "ask", "ask", "ask", "leave", "leave", "pin", "unpin")
ROUGH = (
    *CALM,
    "come and go",
    "get",
    "quiet ask",
    "crash",
    "fail start",
    "fail wake",
    "fail sleep",
    "sleep",
    "stop",
    "ready",
    "restart",
    "sleep now",
    "doze",
    "found",
)


_WHERE: list[tuple[str, ...]] = [(), ("gpu0",), ("gpu1",), ("gpu0", "gpu1")]
_HOST_USE = [
    *[FootprintsSpec()] * 4,
    FootprintsSpec(awake=HeldSpec(host=4 * GIB), level1=HeldSpec(host=20 * GIB), level2=HeldSpec(host=4 * GIB)),
    FootprintsSpec(level1=HeldSpec(host=9 * GIB)),
    FootprintsSpec(level1=HeldSpec(host=30 * GIB)),
]


def takes_both(devices: tuple[str, ...]) -> bool:
    """Whether it may use two devices."""
    return len(devices) != 1


@st.composite
def models(draw: st.DrawFn, count: int, *, rough: bool) -> dict[str, ModelSpec]:
    return {
        f"m{number}": ModelSpec(
            command="engine",
            footprints=draw(st.sampled_from(_HOST_USE)),
            sleep_level=draw(st.sampled_from([1, 1, 2])),
            device_count=draw(st.sampled_from([None, None, 2]))
            if takes_both(where := draw(st.sampled_from(_WHERE)))
            else None,
            concurrency=draw(st.sampled_from([None, 1, 2])),
            sleep_after=draw(st.sampled_from([None, 5.0, 5.0, 40.0])),
            unload_after=draw(st.sampled_from([None, 60.0])),
            min_sleep_duration=draw(st.sampled_from([0.0, 20.0])),
            replicas=(ReplicaSpec(),) * draw(st.sampled_from([1, 1, 2, 3])),
            wake_on_request=not rough or draw(st.integers(0, 3)) > 0,
            preload=draw(st.booleans()),
            pin=rough and draw(st.integers(0, 2)) == 0,
            footprint=draw(st.sampled_from([None, 10 * GIB, 20 * GIB, 30 * GIB])),
            footprint_asleep=draw(st.sampled_from([0, GIB])),
            devices=where,
            queue=QueueSpec(size=64, max_wait=120.0 if rough else 100_000.0),
            restart=RestartSpec(tries=3, backoff=1.0, retry_failed_after=20.0),
            timeouts=TimeoutsSpec(drain=15.0),
        )
        for number in range(count)
    }


@st.composite
def scripts(draw: st.DrawFn, *, rough: bool) -> Script:
    count = draw(st.integers(2, 4))
    words = ROUGH if rough else ("ask", "ask", "ask", "leave")
    names = [f"m{number}" for number in range(count)]
    beside = draw(st.sampled_from(["anybody", "groups", "matrix"]))
    spec = RoostSpec(
        models=draw(models(count, rough=rough)),
        memory=MemorySpec(
            max_resident=draw(st.sampled_from([None, 1, 1, 2])),
            devices=draw(st.sampled_from([{}, {"gpu0": 40 * GIB, "gpu1": 40 * GIB}])),
            reserve=draw(st.sampled_from([0, 2 * GIB])),
            host=draw(st.sampled_from([None, 24 * GIB])),
            groups=draw(group_specs(names)) if beside == "groups" else {},
            matrix=draw(matrix_specs(names)) if beside == "matrix" else None,
        ),
        policy=PolicySpec(
            evict_by=draw(st.sampled_from(["sleep", "unload"])),
            residency=draw(st.sampled_from([0.0, 0.0, 8.0])),
            turn=draw(st.sampled_from([0.0, 0.0, 3.0, 30.0])),
            max_starts=draw(st.sampled_from([1, 4])),
            launch_delay=draw(st.sampled_from([0.0, 0.0, 7.0])),
            auto_sleep=draw(st.integers(0, 4)) > 0,
            check_interval=30.0 if rough else 1e9,
            last_resort=draw(st.sampled_from([(), (), ("pin",), ("residency", "pin")])),
        ),
    )
    happening = st.builds(
        Happening,
        wait_s=st.sampled_from([0.0, 0.0, 0.3, 2.0, 9.0, 9.0, 45.0]),
        who=st.integers(0, count - 1),
        what=st.sampled_from(words),
        hold_s=st.sampled_from([0.0, 0.2, 3.0, 30.0]),
        part=st.integers(0, 2),
    )
    happenings = draw(st.lists(happening, min_size=6, max_size=30))
    sleepers = draw(st.lists(st.sampled_from([(1, 2), (1,), (1, 2), (1, 2), ()]), min_size=count, max_size=count))
    return Script(spec=spec, sleepers=tuple(sleepers), happenings=tuple(happenings))


@st.composite
def by_the_hour(draw: st.DrawFn, *, rough: bool) -> Script:
    """Windows open and close while the script runs; only rough ones pin, for a pin may keep others out."""
    script = draw(scripts(rough=rough))
    spec, names = script.spec, list(script.spec.models)
    some = st.lists(st.sampled_from(names), max_size=2, unique=True).map(tuple)
    made = st.builds(
        ScheduleSpec,
        when=st.sampled_from(["fri 07:00-08:00", "fri 08:00-08:01", "08:00-08:05", "thu 23:00-08:02"]),
        timezone=st.just("UTC"),
        pin=some if rough else st.just(()),
        sleep=some,
        max_resident=st.sampled_from([None, None, 1, 2]),
        devices=st.sampled_from(
            [{}, {"gpu0": 20 * GIB}, {"gpu0": 0, "gpu1": 34 * GIB}] if spec.memory.devices else [{}]
        ),
    )
    policy = replace(spec.policy, schedules=tuple(draw(st.lists(made, min_size=1, max_size=2))))
    return replace(script, spec=replace(spec, policy=policy))


@dataclass(slots=True)
class Witness:
    """Sees every order as it is given and holds it against the sentences."""

    bench: Bench
    broken: list[str] = field(default_factory=list)
    orders: Counter[str] = field(default_factory=Counter)
    going: dict[str, int] = field(default_factory=dict)
    """The level of each replica's last sleep."""

    def attach(self) -> None:
        for owner in self.bench.owners.values():
            owner.watch = self.see

    def see(self, owner: FakeOwner, action: Action) -> None:
        self.orders[type(action).__name__] += 1
        if isinstance(action.reason, Idle) and not self.bench.spec.policy.auto_sleep:
            self._say("auto_sleep is off", action)
        match action:
            case Load() | Wake():
                self._fits(owner, action)
                self._may_be_beside(owner, action)
                self._may_be_asked_up(owner, action)
                self._in_its_time(owner, action)
            case Sleep() | Stop():
                self._no_leases(owner, action)
                self._pinned(owner, action)
                if isinstance(action, Sleep):
                    self._fits(owner, action)
                    self.going[owner.id] = action.level
                if owner.state is State.ASLEEP:
                    self._for_a_first(action)
            case Drain():
                self._pinned(owner, action)
                self._residency(owner, action)
                self._for_a_first(action)
            case _:
                pass

    def _say(self, sentence: str, action: Action) -> None:
        self.broken.append(f"{clock.now():.2f}: {sentence}: {action} ({action.reason})")

    def _fits(self, owner: FakeOwner, action: Action) -> None:
        """On each device that it takes more of, in host memory and by number; a sleep takes host memory only."""
        memory = self.bench.control.standing().memory
        others = [o for o in self.bench.owners.values() if o is not owner]
        up = [o for o in others if o.awake]
        if isinstance(action, Load | Wake):
            if memory.max_resident is not None and len(up) + 1 > memory.max_resident:
                self._say("over max_resident", action)
            for device in self._on(owner, action):
                held = self._awake(owner) + sum(self._held(o) for o in others if device in self._on(o))
                if self._awake(owner) > self._held(owner) and held > memory.devices[device] - memory.reserve:
                    self._say(f"over the budget of {device}", action)
            starting = sum(o.state in (State.STARTING, State.WAKING) for o in self.bench.owners.values())
            if starting >= self.bench.spec.policy.max_starts:
                self._say("over max_starts", action)
        if memory.host is not None:
            then = max(self._host(owner), self._host_at(owner, action))
            if then > self._host(owner) and then + sum(map(self._host, others)) > memory.host:
                self._say("over the budget of host memory", action)

    def _on(self, owner: FakeOwner, action: Action | None = None) -> tuple[str, ...]:
        """Its devices; where nobody chose, the first ones it may use."""
        if isinstance(action, Load) and action.devices:
            return action.devices
        fit = [d for d in self.bench.spec.memory.devices if not owner.spec.devices or d in owner.spec.devices]
        return (owner.devices if not isinstance(action, Load) else ()) or tuple(fit[: owner.spec.device_count or 1])

    def _host_at(self, owner: FakeOwner, action: Action) -> int:
        """What the order makes it hold of the host."""
        said = owner.spec.footprints
        if isinstance(action, Sleep):
            return (said.level2 if action.level == 2 else said.level1).host or 0
        return said.awake.host or 0

    def _host(self, owner: FakeOwner) -> int:
        """Of the host now; on its way to or from a sleep it holds both."""
        said = owner.spec.footprints
        level = self.going.get(owner.id) if owner.state is State.SUSPENDING else owner.level
        asleep = (said.level2 if level == 2 else said.level1).host or 0
        if owner.state is State.ASLEEP or (owner.state is State.STOPPING and not owner.awake):
            return asleep
        if owner.state in (State.SUSPENDING, State.WAKING):
            return max(asleep, said.awake.host or 0)
        return (said.awake.host or 0) if owner.awake else 0

    def _may_be_beside(self, owner: FakeOwner, action: Action) -> None:
        """A further replica joins its own model; that one was let in by the rules."""
        owners = self.bench.owners.values()
        up = {o.model for o in owners if o.awake and o is not owner}
        leaving = (State.DRAINING, State.SUSPENDING, State.STOPPING)
        if not any(o.model == owner.model and o.awake and o.state not in leaving for o in owners if o is not owner):
            others = against(self.bench.spec.memory, owner.model, up, self.bench.spec.models)
            if others:
                self._say(f"it may not be beside {sorted(others)}", action)

    def _awake(self, owner: FakeOwner) -> int:
        return max(owner.spec.footprint or 0, owner.spec.footprint_asleep)

    def _held(self, owner: FakeOwner) -> int:
        if owner.awake:
            return self._awake(owner)
        asleep = owner.state in (State.ASLEEP, State.STOPPING)
        return owner.spec.footprint_asleep if asleep else 0

    def _may_be_asked_up(self, owner: FakeOwner, action: Action) -> None:
        if isinstance(action.reason, Demand) and not owner.spec.wake_on_request:
            self._say("requests do not wake it", action)

    def _in_its_time(self, owner: FakeOwner, action: Action) -> None:
        """Preloads keep their distance. A crashed engine that is kept has its own back-off."""
        others = self.bench.owners.values()
        started = [o.last_load_at for o in others if o.spec.preload and o.last_load_at is not None]
        first = isinstance(action.reason, Preload) and owner.state is State.COLD
        if first and started and clock.now() < max(started) + self.bench.spec.policy.launch_delay:
            self._say("too soon after another preload", action)

    def _for_a_first(self, action: Action) -> None:
        """Nobody yields so that a model that is up or coming gets a further replica."""
        up = (State.READY, State.STARTING, State.WAKING)
        if isinstance(action.reason, Evict):
            newcomer = action.reason.for_model
            if any(self._is_stranded(o) for o in self.bench.owners.values() if o.model == newcomer):
                return  # no other replica answers the requests that are with it
            if any(o.model == newcomer and o.state in up for o in self.bench.owners.values()):
                self._say("its newcomer is up already", action)

    def _is_stranded(self, owner: FakeOwner) -> bool:
        return owner.state is State.ASLEEP and self.bench.control.gate.seat(owner.id).in_flight > 0

    def _no_leases(self, owner: FakeOwner, action: Action) -> None:
        wish = self.bench.control.wish(owner.model)
        forced = wish is not None and wish.force_at is not None and wish.force_at <= clock.now()
        serves = owner.state in (State.READY, State.DRAINING, State.ASLEEP)  # a crash or a forced sleep has cut them
        if serves and self.bench.control.gate.seat(owner.id).in_flight and not forced:
            self._say("leases were out before the drain deadline", action)

    def _pinned(self, owner: FakeOwner, action: Action) -> None:
        if self._may_break("pin", action):
            return
        if self.bench.control.pinned(owner.model) and isinstance(action.reason, Idle | Evict | OverBudget | Scheduled):
            self._say("it is pinned", action)

    def _residency(self, owner: FakeOwner, action: Action) -> None:
        stay = self.bench.spec.policy.residency
        fresh = owner.became_ready_at is not None and clock.now() < owner.became_ready_at + stay
        if fresh and isinstance(action.reason, Evict | OverBudget) and not self._may_break("residency", action):
            self._say("it is inside its residency", action)

    def _may_break(self, what: str, action: Action) -> bool:
        allowed = what in self.bench.spec.policy.last_resort
        return allowed and isinstance(action.reason, Evict) and action.reason.last_resort == what


def unplanned(bench: Bench) -> list[str]:
    """Models that requests wait for and that nothing is said or done about, right after a round."""
    bench.control._loop._run()
    silent = []
    for model in bench.control.view().models:
        on_its_way = any(
            r.state in (State.STARTING, State.WAKING, State.READY, State.DRAINING, State.SUSPENDING, State.STOPPING)
            for r in model.replicas
        )
        made = bench.control.last_plan
        acted = made is not None and any(action.replica.startswith(f"{model.name}/") for action in made.actions)
        if model.waiting and not on_its_way and not acted and bench.control.blocked(model.name) is None:
            silent.append(f"{clock.now():.2f}: {model.name} waits and nobody says why: {made}")
    return silent


def happen(bench: Bench, event: Happening) -> None:
    name = f"m{event.who}"
    control = bench.control
    parts = [owner for owner in bench.owners.values() if owner.model == name]
    owner = parts[event.part % len(parts)]
    goals = {"sleep": Goal.ASLEEP, "sleep now": Goal.ASLEEP, "stop": Goal.STOPPED, "ready": Goal.READY}
    match event.what:
        case "ask":
            bench.ask(name, event.hold_s)
        case "come and go":  # while another one drains for it
            client = bench.ask(name, event.hold_s)
            asyncio.get_running_loop().call_later(1.0, bench.leave, client)
        case "get":
            bench.ask(name, event.hold_s, method="GET")
        case "quiet ask":
            bench.ask(name, 60.0, key=QUIET)  # long enough to see an idle drain taken back
        case "leave":
            for client in bench.clients[-3:]:
                bench.leave(client)
        case "pin" | "unpin":
            control.pin(name, event.what == "pin", by="test")
        case "crash":
            if owner.state in (State.STARTING, State.READY, State.DRAINING, State.SUSPENDING, State.WAKING):
                owner.see(Fact.GONE, "killed")
        case "doze":
            bench.ask(name, event.hold_s)  # so that it often has a request then
            if owner.state in (State.READY, State.DRAINING):
                owner.see(Fact.FELL_ASLEEP, "someone else put it to sleep")
        case "found":
            if owner.state is State.COLD:
                owner.found()
            elif owner.state is State.ASLEEP:
                owner.woken_by_others()
        case "fail start" | "fail wake" | "fail sleep":
            owner.fail_next.append(event.what.removeprefix("fail "))
        case _:
            goal = goals.get(event.what, Goal.RESTARTED)
            spawn(control.order(name, goal, by="test", wait_s=30.0, force=event.what == "sleep now"), "order")


def play(script: Script, rest_s: float, look_on: bool = True) -> tuple[Bench, Witness]:
    """Run a script and on until all have their answer or `rest_s` is over. `look_on` runs a round after each line,
    to hear what it says; without it the loop has only its own nudges and timers, and no heartbeat."""

    async def main() -> tuple[Bench, Witness]:
        kinds = {f"m{number}": {"sleep_levels": levels} for number, levels in enumerate(script.sleepers)}
        bench = Bench(script.spec, **kinds)  # type: ignore[arg-type]
        witness = Witness(bench)
        witness.attach()
        bench.sweep_every_s = 5.0
        async with bench:
            for event in script.happenings:
                happen(bench, event)
                if look_on:
                    witness.broken += unplanned(bench)
                witness.broken += counts_agree(bench)
                await pause(event.wait_s)
            await pause(50.0)
            await bench.rest(rest_s)
            witness.broken += counts_agree(bench)
            witness.broken += await orders_that_never_end(bench)
        return bench, witness

    with wall("2026-11-20 07:59"):
        return run(main(), limit_s=1_000_000.0)


async def orders_that_never_end(bench: Bench) -> list[str]:
    """An order may wait for room; in a fleet that has come to rest it is met, settled or denied in the end."""
    standing = list(bench.spec.models)
    for _ in range(20):
        standing = [name for name in standing if bench.control.wish(name) is not None]
        if not standing:
            break
        await pause(20.0)
    return [f"an order for {name} never ends: {bench.control.blocked(name)}" for name in standing]


def counts_agree(bench: Bench) -> list[str]:
    """In flight is exactly the leases out, never below zero; queued is exactly who still waits."""
    wrong = []
    gate = bench.control.gate
    out = [(client.lease.replica, client) for client in bench.clients if client.lease and client.done_at is None]
    for owner in bench.owners.values():
        mine = [client for replica, client in out if replica == owner.id]
        counted = (gate.seat(owner.id).in_flight, gate.seat(owner.id).counting)
        true = (len(mine), sum(client.counts for client in mine))
        if counted != true:
            wrong.append(f"{owner.id}: counted {counted}, true {true} (in flight, counting)")
    for name in bench.spec.models:
        waiting = [c for c in bench.clients if c.model == name and c.outcome == "open" and c.lease is None]
        counted = (gate.lane(name).depth, gate.lane(name).wakers)
        true = (len(waiting), sum(client.may_wake for client in waiting))
        if counted != true:
            wrong.append(f"{name}: counted {counted}, true {true} (queued, may wake)")
    return wrong


def answered_once(clients: list[Client]) -> bool:
    return all(client.calls <= 1 for client in clients)


@settings(BOUNDED, max_examples=300)
@given(scripts(rough=True))
def test_safety_holds_whatever_happens(script: Script) -> None:
    """Never over budget; no lease cut before its deadline; pinned means pinned; no eviction inside residency;
    who waits is served, planned for or told why; each lease returned once; every wait ends."""
    bench, witness = play(script, rest_s=2000.0)
    assert witness.broken == []
    assert answered_once(bench.clients)
    assert [client for client in bench.clients if client.outcome == "open"] == []


@settings(BOUNDED, max_examples=250)
@given(scripts(rough=False))
def test_with_engines_that_succeed_everybody_is_served(script: Script) -> None:
    """Liveness: who can ever fit is served, however many contend."""
    bench, witness = play(script, rest_s=5000.0, look_on=False)
    assert witness.broken == []
    outcomes = Counter(client.outcome for client in bench.clients)
    assert set(outcomes) <= {"served", "gone"}, outcomes


@settings(BOUNDED, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.2, 1.0, 4.0])), min_size=10, max_size=60))
def test_three_models_share_one_place_fairly(stream: list[tuple[int, float]]) -> None:
    """No request waits longer than the turns of the others that were due before it."""
    names = [f"m{number}" for number in range(3)]
    spec = RoostSpec(
        models={name: ModelSpec(command="engine", queue=QueueSpec(size=64, max_wait=100_000.0)) for name in names},
        memory=MemorySpec(max_resident=1),
    )
    calm = Script(
        spec=spec,
        sleepers=((1, 2),) * 3,
        happenings=tuple(Happening(wait_s=wait, who=who, what="ask", hold_s=1.0) for who, wait in stream),
    )
    bench, witness = play(calm, rest_s=300.0, look_on=False)
    assert witness.broken == []
    waits = [client.done_at - client.came_at for client in bench.clients if client.done_at is not None]
    assert len(waits) == len(bench.clients)
    # Two other turns (drain a second's request, sleep, load, answer), then its own, and one for rounding.
    assert max(waits) <= 4 * (1.0 + 0.5 + 5.0 + 1.0)


@settings(BOUNDED, max_examples=15)
@given(
    crowd=st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=40, max_size=120),
    comes_after=st.integers(1, 39),
    limit=st.sampled_from([1, 2]),
)
def test_a_crowded_model_does_not_starve_another(crowd: list[float], comes_after: int, limit: int) -> None:
    """Its turn ends when it has run for its time since the other began to wait."""
    queue = QueueSpec(size=200, max_wait=100_000.0)
    spec = RoostSpec(
        models={name: ModelSpec(command="engine", concurrency=limit, queue=queue) for name in ("m0", "m1")},
        memory=MemorySpec(max_resident=1),
    )
    asks = [Happening(wait_s=wait, who=0, what="ask", hold_s=1.0) for wait in crowd]
    asks.insert(comes_after, Happening(wait_s=0.0, who=1, what="ask", hold_s=1.0))
    script = Script(spec=spec, sleepers=((1, 2),) * 2, happenings=tuple(asks))
    bench, witness = play(script, rest_s=1000.0, look_on=False)
    assert witness.broken == []
    lonely = next(client for client in bench.clients if client.model == "m1")
    began = 1000.0 + 5.0  # the first start
    assert lonely.done_at is not None
    turn = spec.policy.turn
    assert lonely.done_at <= max(began, lonely.came_at) + turn + 1.0 + 0.5 + 5.0 + 1.0 + 0.1


@settings(BOUNDED, max_examples=150)
@given(by_the_hour(rough=True))
def test_safety_holds_while_windows_open_and_close(script: Script) -> None:
    """The same sentences, with the budgets and pins of the hour."""
    bench, witness = play(script, rest_s=2000.0)
    assert witness.broken == []
    assert answered_once(bench.clients)
    assert [client for client in bench.clients if client.outcome == "open"] == []


@settings(BOUNDED, max_examples=100)
@given(by_the_hour(rough=False))
def test_windows_that_pin_nothing_keep_nobody_from_being_served(script: Script) -> None:
    """Smaller budgets end, and the loop looks again then, without a heartbeat."""
    bench, witness = play(script, rest_s=5000.0, look_on=False)
    assert witness.broken == []
    outcomes = Counter(client.outcome for client in bench.clients)
    assert set(outcomes) <= {"served", "gone"}, outcomes


def test_the_scripts_reach_what_they_are_about() -> None:
    """The properties would be idle talk if scripts never evicted, slept, failed or ordered."""
    seen: Counter[str] = Counter()

    @settings(BOUNDED, max_examples=300)
    @given(scripts(rough=True))
    def look(script: Script) -> None:
        bench, witness = play(script, rest_s=200.0)
        seen.update(witness.orders)
        seen.update(client.outcome for client in bench.clients)
        reasons = [order.reason for owner in bench.owners.values() for order in owner.orders]
        seen.update(type(reason).__name__ for reason in reasons)
        seen["two devices"] += sum(len(owner.devices) == 2 for owner in bench.owners.values())
        seen["rung"] += sum(bool(getattr(reason, "rung", "")) for reason in reasons)
        seen["last resort"] += sum(isinstance(reason, Evict) and bool(reason.last_resort) for reason in reasons)
        seen["rule"] += sum(isinstance(reason, Evict) and bool(reason.rule) for reason in reasons)

    look()
    hours = Counter[str]()

    @settings(BOUNDED, max_examples=60)
    @given(by_the_hour(rough=True))
    def look_at_hours(script: Script) -> None:
        bench, _ = play(script, rest_s=200.0)
        given_orders = [order for owner in bench.owners.values() for order in owner.orders]
        hours.update(type(one).__name__ for one in given_orders if isinstance(one.reason, Scheduled))
        hours["narrowed"] += sum(isinstance(o.reason, OverBudget) and bool(o.reason.window) for o in given_orders)

    look_at_hours()
    assert {"Load", "Wake", "Drain", "narrowed"} <= set(+hours), hours
    assert seen["rule"] > 20
    assert min(seen[word] for word in ("two devices", "rung", "last resort", "Outslept")) > 0, seen
    wanted = {"Load", "Wake", "Sleep", "Stop", "Drain", "Undrain", "served", "refused", "gone"}
    by_others = {"Stranded", "OverBudget"}
    assert wanted | by_others | {"Demand", "Evict", "Idle", "Ordered", "Preload", "Spared"} <= set(seen), seen
