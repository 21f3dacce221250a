"""A fleet in simulated time, driven by the planner that drives the real one: `rehearse(stage)` gives a record.

Deterministic: no clock, no network, no luck; requests and how long things take come as arguments. It does what
`control` does around the planner: a request that meets a ready replica with room asks nobody, one that must wait
begins a round, and so does each move that comes to its end and each `next_check_at`. Engines never fail here.
Called by the CLI (`roost plan --trace`), `bench/policy.py` and tests.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from roost.core.forecast import Outlooks
from roost.core.lifecycle import READY, State
from roost.core.plan import Action, Blocked, Drain, Load, Plan, Stop, Turn, Wake
from roost.core.reason import Evict, Idle
from roost.core.request import Refusal
from roost.core.view import FleetView, Policy
from roost.planner.admission import admit, comes_back_too_late, coming, not_awake, pick
from roost.planner.plan import Planner
from roost.planner.rehearse_cast import Actor, Part
from roost.planner.rehearse_stage import Arrival, Hour, Record, Scene, Spell, Stage, Wait

Chooser = Callable[[FleetView, Policy], Plan]

_ROUNDS_AT_ONCE = 20
_REST_S = 0.05
"""As `control/loop.py`: so many rounds may follow each other at once, and so far apart they are in the long run."""
_NEVER = float("inf")


def rehearse(stage: Stage, chooser: Chooser | None = None) -> Record:
    """Play it to the end: every request is served or refused. IllegalMove if the chooser orders what cannot be."""
    return _Play(stage, chooser or Planner()).play()


@dataclass(frozen=True, slots=True)
class _Asking:
    may_wake: bool = True


_ASKING = _Asking()


class _Play:
    """One rehearsal under way."""

    def __init__(self, stage: Stage, chooser: Chooser) -> None:
        spec = stage.spec
        self.stage = stage
        self.chooser = chooser
        self.policy = Policy(spec=spec.policy)
        self.parts = [Part(name, spec.models[name], m) for name, m in zip(spec.models, stage.mechanics, strict=True)]
        self.actors = {actor.id: actor for part in self.parts for actor in part.seats}
        self.by_name = {part.name: part for part in self.parts}
        self.record = Record(array("d", bytes(8 * len(stage.arrivals))))
        self.learner = stage.learner
        self.now = 0.0
        self.hour: Hour | None = None
        self.due = _NEVER
        self.nudged = True
        self.open = len(stage.arrivals)
        """Requests that have not ended."""
        self._number = 0
        self.turns: Mapping[str, Turn] = {}
        """Who holds on to its place by turn, as the last plan said."""
        self.blocked: Mapping[str, Blocked] = {}
        """Who could not move, as the last plan said."""
        self.places = {name: host.max_resident for name, host in spec.hosts.items() if host.max_resident is not None}
        self._moves: list[tuple[float, int, Actor]] = []
        self._leases: list[tuple[float, int, Actor, int]] = []
        self._deadlines: list[tuple[float, int, Part]] = []

    def play(self) -> Record:
        arrivals, at = self.stage.arrivals, 0
        while True:
            coming_at = arrivals[at].at_s if at < len(arrivals) else _NEVER
            moment = min(coming_at, self._next())
            if self.nudged and moment > self.now:
                self._rounds()
                continue
            if not self.open and moment >= self.stage.until_s:
                break
            self.now = moment
            while at < len(arrivals) and arrivals[at].at_s <= moment:
                self._arrive(at, arrivals[at])
                at += 1
            self._happen()
        return self._end()

    def _next(self) -> float:
        heads = [heap[0][0] for heap in (self._moves, self._leases, self._deadlines) if heap]
        return min(self.due, *heads) if heads else self.due

    def _happen(self) -> None:
        """Everything that has come to its end by now."""
        now = self.now
        while self._leases and self._leases[0][0] <= now:
            _, _, actor, turn = heappop(self._leases)
            if turn == actor.turn:
                self._released(actor)
        while self._moves and self._moves[0][0] <= now:
            _, number, actor = heappop(self._moves)
            if number == actor.move:
                self._arrived(actor)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, arrival, part = heappop(self._deadlines)
            if part.queue and part.queue[0][0] == arrival:
                self._refuse_first(part, part.why or "waited too long")
        if self.due <= now:
            self.due, self.nudged = _NEVER, True

    def _arrive(self, index: int, arrival: Arrival) -> None:
        part = self.parts[arrival.model]
        if self.learner is not None:
            self.learner.arrived(part.name, arrival.at_s)
        answer = admit(part, _ASKING)
        if isinstance(answer, Actor):
            self._grant(answer, arrival.service_s)
        elif isinstance(answer, Refusal) or self._held_back(part):
            why = answer.message if isinstance(answer, Refusal) else self.blocked[part.name].sentence
            self._ended(index, part, 0.0, Wait(index, part.name, self.now, 0.0, 0.0, 0.0, False, why))
        else:
            self.nudged = self.nudged or not part.queue
            part.queue.append((index, self.now))
            part.counted()
            heappush(self._deadlines, (self.now + part.spec.queue.max_wait, index, part))

    def _held_back(self, part: Part) -> bool:
        """Whether the model's memory is known to come back too late for one who comes now."""
        blocked = self.blocked.get(part.name)
        return blocked is not None and comes_back_too_late(blocked, part.spec.queue.max_wait, self.now)

    def _grant(self, actor: Actor, service_s: float) -> None:
        actor.in_flight += 1
        actor.last_granted = self.now
        actor.stale()
        self._number += 1
        heappush(self._leases, (self.now + service_s, self._number, actor, actor.turn))

    def _released(self, actor: Actor) -> None:
        actor.in_flight -= 1
        actor.last_done = self.now
        actor.stale()
        self.open -= 1
        if actor.part.queue:
            self._serve(actor.part)
        elif actor.id in self.turns and actor.state is READY:
            self.nudged = True  # its turn is over: it has nothing more to do
        if not actor.in_flight and actor.state is not READY:
            self.nudged = True

    def _serve(self, part: Part) -> None:
        """Hand out places in order while there are any."""
        limit, served = part.spec.concurrency, False
        while part.queue and (actor := pick(part.seats, limit)) is not None:
            index, since = part.queue.popleft()
            waited = self.now - since
            room = min(waited, max(0.0, actor.started_at - since))
            ready = self.now if actor.became_ready_at is None else actor.became_ready_at
            rise = max(0.0, min(waited - room, ready - max(since, actor.started_at)))
            why = part.why or f'Model "{part.name}" was on its way.'
            self._waited(part, Wait(index, part.name, since, waited, room, rise, True, why))
            self._grant(actor, self.stage.arrivals[index].service_s)
            served = True
        if served:
            part.counted()
            part.why = part.why if part.queue else ""
            self.nudged = True

    def _refuse_first(self, part: Part, why: str) -> None:
        self._refuse(part, part.queue.popleft(), why)

    def _refuse(self, part: Part, waiter: tuple[int, float], why: str) -> None:
        """One that has left the queue."""
        index, since = waiter
        part.counted()
        self.nudged = True
        waited = self.now - since
        self._ended(index, part, waited, Wait(index, part.name, since, waited, waited, 0.0, False, why))

    def _ended(self, index: int, part: Part, waited: float, wait: Wait) -> None:
        self.open -= 1
        self.record.refused.append(index)
        self._waited(part, wait)

    def _waited(self, part: Part, wait: Wait) -> None:
        record = self.record
        record.waits[wait.arrival] = wait.wait_s
        record.room_s += wait.room_s
        record.rise_s += wait.rise_s
        record.queue_s += wait.wait_s - wait.room_s - wait.rise_s
        if self.stage.told:
            record.waited.append(wait)

    def _arrived(self, actor: Actor) -> None:
        part = actor.part
        self._spell(actor)
        if self.learner is not None and actor.state in (State.SUSPENDING, State.STOPPING):
            self.learner.returned(part.name, "down", self.now - actor.since)
        actor.arrive(self.now)
        self.nudged = True
        if actor.state is READY:
            if self.learner is not None:
                self.learner.returned(part.name, actor.came_from, self.now - actor.started_at)
                part.costs = self.learner.costs(part.name)
            self._serve(part)
        elif part.queue and not coming(part):
            while part.queue:
                self._refuse_first(part, not_awake(part).message)

    def _rounds(self) -> None:
        """Plan until nothing more comes of it at this moment."""
        for _ in range(_ROUNDS_AT_ONCE):
            self.nudged = False
            made = self.chooser(self._view(), self.policy)
            self.record.rounds += 1
            self.turns, self.blocked = made.turns, made.blocked
            self.due = _NEVER if made.next_check_at is None else max(made.next_check_at, self.now + _REST_S)
            for action in made.actions:
                self._perform(action)
            for name, blocked in made.blocked.items():
                part = self.by_name[name]
                part.why = blocked.sentence
                while blocked.final and part.queue:
                    self._refuse_first(part, blocked.sentence)
                while part.queue and part.queue[-1][1] == self.now and self._held_back(part):
                    self._refuse(part, part.queue.pop(), blocked.sentence)
            if not self.nudged:
                return
        self.nudged, self.due = False, self.now + _REST_S

    def _view(self) -> FleetView:
        hour = None if self.stage.hours is None else self.stage.hours(self.now)
        if hour is not self.hour and hour is not None:
            self.hour = hour
            for part in self.parts:
                part.tell_hour(hour)
        return FleetView(
            now=self.now,
            models=tuple([part.view or part.seen() for part in self.parts]),
            memory=self.stage.spec.memory if hour is None else hour.memory,
            windows={} if hour is None else hour.budgets,
            schedule_changes_at=None if hour is None else hour.changes_at,
            places=self.places,
            outlooks=None if self.learner is None else Outlooks(self.learner.forecast, self.now),
        )

    def _perform(self, action: Action) -> None:
        actor, record = self.actors[action.replica], self.record
        if isinstance(action, Stop) and action.forced:
            self._cut(actor)
        self._spell(actor)
        begins_down = isinstance(action, Drain) or (isinstance(action, Stop) and actor.drain_reason is None)
        took = actor.obey(action, self.now)
        self._number += 1
        actor.move = self._number
        if took is not None:
            heappush(self._moves, (self.now + took, self._number, actor))
        elif actor.state is READY:
            self._serve(actor.part)
        if not actor.in_flight and took is None:
            self.nudged = True  # a drain that has nothing to wait for goes on at once
        record.loads += isinstance(action, Load)
        record.wakes += isinstance(action, Wake)
        record.evictions += begins_down and isinstance(action.reason, Evict)
        record.idled += begins_down and isinstance(action.reason, Idle)
        if self.stage.told:
            order, evicts = type(action).__name__.lower(), isinstance(action.reason, Evict)
            record.story.append(Scene(self.now, actor.id, order, str(action.reason), evicts))

    def _cut(self, actor: Actor) -> None:
        self.open -= actor.in_flight
        actor.in_flight, actor.turn = 0, actor.turn + 1

    def _spell(self, actor: Actor) -> None:
        """Count the time in the state that is about to end."""
        length = self.now - actor.since
        if actor.resident:
            self.record.awake_s += length
            self.record.awake_byte_s += length * actor.part.bytes
        if self.stage.told and length > 0:
            self.record.spells.append(Spell(actor.id, actor.state, actor.since, self.now))

    def _end(self) -> Record:
        self.now = max(self.now, self.stage.until_s)
        for actor in self.actors.values():
            self._spell(actor)
        self.record.ended_s = self.now
        return self.record
