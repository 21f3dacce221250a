"""The control plane in one object: gate, wishes, observation, planner and loop, wired together for `app`.

Owns no policy of its own. Everything happens on the event loop; owners' changes reach the gate first, so that a
ready replica serves its queue before the next plan looks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from roost import clock
from roost.control.budgets import Budgets, no_budgets
from roost.control.execute import Executor, phrase
from roost.control.gate import Gate
from roost.control.learning import Learning
from roost.control.leaving import Leaving
from roost.control.loop import Loop
from roost.control.observe import Sources, idle_since, observe, scheduled
from roost.control.patience import Patience
from roost.control.ports import Owner
from roost.control.refusing import refusal_for
from roost.control.schedule import Standing, Timetable
from roost.control.wishes import OrderResult, Wishes
from roost.core.errors import RoostError
from roost.core.events import Changed
from roost.core.plan import Blocked, Plan
from roost.core.policy_spec import PolicySpec
from roost.core.spec import ModelSpec, RoostSpec, further_names
from roost.core.view import FleetView, Goal, Policy, Wish
from roost.logs import log
from roost.planner.plan import Planner, plan
from roost.planner.review import is_news


class Controller:
    """Who is awake. `gate` is the data plane's `Fleet`; `order` and `pin` are the operators' doors."""

    def __init__(
        self, spec: RoostSpec, owners: Sequence[Owner], policy: Policy | None = None, budgets: Budgets = no_budgets
    ) -> None:
        self._policy = policy or Policy(spec=spec.policy)
        self._plan = Planner()
        by_model: dict[str, list[Owner]] = {name: [] for name in spec.models}
        for owner in owners:
            by_model[owner.model].append(owner)
        self._owners = by_model
        self._leaving: dict[str, Leaving] = {}
        self._loop = Loop(self._round, self._policy.spec.check_interval)
        self._executor = Executor(owners)
        self._wishes = Wishes(by_model, {name: model.pin for name, model in spec.models.items()})
        self.gate = Gate(spec, owners, self._loop.nudge)
        self._owner = {owner.id: owner for owner in owners}
        self.learning = Learning(lambda: self._policy.spec, self._loop.nudge)
        self.gate.hear_arrival, self.gate.hear_hint = self.learning.arrived, self.learning.hinted
        self._sources = Sources(
            spec=spec,
            owners=by_model,
            gate=self.gate,
            wishes=self._wishes,
            executor=self._executor,
            learning=self.learning,
            timetable=Timetable(spec.memory, self._policy.spec.schedules),
            devices=budgets,
        )
        self._patience = Patience()
        self._started_at = 0.0
        self._hearers: list[Callable[[Plan], None]] = []
        self._recorders: list[Callable[[FleetView, Policy, Plan], None]] = []
        self.last_plan: Plan | None = None
        """None until the first round has run: roost is not ready before."""
        for owner in owners:
            owner.subscribe(self._changed)

    def start(self) -> None:
        """Begin to plan; the first round comes at once. Owners must exist before (preload looks at that)."""
        self._started_at = clock.now()
        self._loop.start()

    def stop(self) -> None:
        """Plan no more; end standing orders. Queues are emptied by `gate.close()`, which comes first."""
        self._loop.stop()
        self._wishes.close()

    def check_names(self, models: Mapping[str, ModelSpec]) -> None:
        """Raises RoostError where a name of theirs leads to a model already, or to two of them."""
        seen: dict[str, str] = {}
        for model, spec in models.items():
            for name in (model, *further_names(model, spec)):
                owner = self.gate.owner_of(name) or seen.get(name)
                if owner is not None:
                    leaving = " which is still being removed" if owner in self._leaving else ""
                    raise RoostError(
                        f'Model "{model}" cannot be added: "{name}" already names the model "{owner}"{leaving}. '
                        "Give it a name of its own."
                    )
                seen[name] = model

    def add(self, models: Mapping[str, ModelSpec], owners: Sequence[Owner], *, known: bool = True) -> None:
        """Models that come to a running roost, after all others; `known` as for `Gate.add`. Raises RoostError where a
        name is taken; then nothing is added."""
        self.check_names(models)
        now = clock.now()
        self._executor.add(owners)
        self._owner |= {owner.id: owner for owner in owners}
        for name, spec in models.items():
            self._owners[name] = [owner for owner in owners if owner.model == name]
            self._wishes.pin(name, spec.pin)
            self.gate.add(name, spec, self._owners[name], now, known=known)
        for owner in owners:
            owner.subscribe(self._changed)
        self.nudge()

    def add_replicas(self, name: str, owners: Sequence[Owner]) -> None:
        """Further replicas of a model that is there."""
        self._executor.add(owners)
        self._owner |= {owner.id: owner for owner in owners}
        self._owners[name].extend(owners)
        self.gate.add_seats(name, owners)
        for owner in owners:
            owner.subscribe(self._changed)
        self.nudge()

    def drop_replica(self, owner: Owner) -> None:
        """A replica of which nothing runs is gone; its model has others."""
        self._owners[owner.model].remove(owner)
        self._forget_replica(owner)
        self.gate.drop_seat(owner.id)
        self.nudge()

    async def retire(self, name: str, *, stop: bool = True) -> bool:
        """No request finds the model any more and its queue is refused; then wait until its leases are back (at most
        `timeouts.drain`) and, with `stop`, its engines have ended. It stays in view till `forget`: its memory is
        still held. False where that did not come in time. Raises RoostError for a model that is not there."""
        if name not in self._owners:
            raise RoostError(f'There is no model "{name}" to remove.')
        if name in self._leaving:
            raise RoostError(f'Model "{name}" is being removed already.')
        leaving = self._leaving[name] = Leaving(self.gate, self._wishes, name, self._owners[name])
        leaving.begin(stop=stop)
        log.info("%s is removed: no new requests, and its running ones end", name)
        self.nudge()
        return await leaving.over(stop=stop)

    def is_leaving(self, name: str) -> bool:
        """Whether the model is being removed."""
        return name in self._leaving

    def forget(self, name: str) -> None:
        """After `retire` (or at once, where nobody knew it and nothing runs): nothing of it is known any more."""
        self._wishes.forget(name)
        for owner in self._owners.pop(name):
            self._forget_replica(owner)
        self.learning.forget(name)
        self.gate.forget(name)
        self._leaving.pop(name, None)
        self.nudge()

    def _forget_replica(self, owner: Owner) -> None:
        for part in (self._executor, self.learning, self._wishes):
            part.forget_replica(owner.id)
        self._sources.seen.replicas.pop(owner.id, None)
        del self._owner[owner.id]

    def nudge(self) -> None:
        """Look soon."""
        self._loop.nudge()

    def on_plan(self, hear: Callable[[Plan], None]) -> None:
        """`hear` gets every plan that does or refuses something, before it is carried out. Must be quick."""
        self._hearers.append(hear)

    def on_decision(self, record: Callable[[FleetView, Policy, Plan], None]) -> None:
        """`record` gets every plan that orders something, or blocks or denies somebody anew, with what it was made
        from. Must be quick and never raise."""
        self._recorders.append(record)

    def view(self) -> FleetView:
        """The fleet now."""
        return observe(self._sources, clock.now(), self._started_at)

    def dry_plan(self) -> Plan:
        """What the next round would do; nothing is done."""
        return plan(self.view(), self._policy)

    def adjust(self, policy: PolicySpec, model: str, spec: ModelSpec) -> None:
        """Other choices from the next look on; orders, queues and counts go on."""
        if policy.schedules != self._policy.spec.schedules:
            self._sources.timetable.use(policy.schedules)
        self._policy = replace(self._policy, spec=policy)
        self._loop.rest_at_most(policy.check_interval)
        self.gate.lane(model).spec = spec
        self.nudge()

    def idle_since(self, model: str) -> float | None:
        """Since when the model has had nothing to do, by the planner's measure; None unless all its replicas are
        ready and idle. Only reads: safe from any thread."""
        moments = [idle_since(self._sources, owner) for owner in self._sources.owners[model]]
        known = [moment for moment in moments if moment is not None]
        return max(known) if known and len(known) == len(moments) else None

    def blocked(self, model: str) -> Blocked | None:
        """Why the model could not move at the last look."""
        return None if self.last_plan is None else self.last_plan.blocked.get(model)

    def pinned(self, model: str) -> bool:
        """By the config, a schedule or an operator."""
        return scheduled(self._wishes, self.standing(), model)[0]

    def standing(self) -> Standing:
        """What schedules say now."""
        return self._sources.timetable.standing()

    def wish(self, model: str) -> Wish | None:
        """The operator's standing order."""
        return self._wishes.wish(model)

    def pin(self, name: str, pinned: bool, *, by: str) -> OrderResult:
        """Pin or unpin a model until roost ends; overrides the config."""
        route = self.gate.resolve(name)
        if route is None:
            return _unknown(name)
        changed = self.pinned(route.name) is not pinned
        self._wishes.pin(route.name, pinned, clock.now())
        log.info("%s %s by %s", "pinned" if pinned else "unpinned", route.name, by)
        self.nudge()
        message = f'Model "{route.name}" is {"pinned" if pinned else "not pinned"}.'
        return OrderResult(success=True, changed=changed, state=self._wishes.state(route.name), message=message)

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None = None, wait_s: float = 0.0, force: bool = False
    ) -> OrderResult:
        """Wish a state for a model and wait up to `wait_s` for it, less where its memory is held back for longer than
        that; the order stands on (202). It is for all its replicas; `Goal` says what of them must be so for the answer.
        `force` lets running requests not hold it up; else they may until the model's `timeouts.drain`."""
        route = self.gate.resolve(name)
        if route is None:
            return _unknown(name)
        now = clock.now()
        force_at = now if force else now + route.spec.timeouts.drain
        wish = Wish(goal=goal, by=by, asked_at=now, force_at=force_at, level=level)
        log.info("%s asks for %s to be %s", by, route.name, goal)
        done = self._wishes.place(route.name, wish)
        self.nudge()
        result = await self._patience.wait(route.name, done, wait_s)
        return self._not_yet(route.name, goal) if result is None else result

    def _not_yet(self, model: str, goal: Goal) -> OrderResult:
        blocked, state = self.blocked(model), self._wishes.state(model)
        why = f" {blocked.sentence}" if blocked is not None else ""
        message = f'Model "{model}" is {state}, not yet {goal}; the order stands.{why}'
        return OrderResult(success=True, changed=True, state=state, message=message, status=202)

    def _changed(self, change: Changed) -> None:
        self._executor.replica_changed(change)
        self.gate.replica_changed(change)
        if change.model in self._owners:
            self._wishes.replica_changed(change)
        if change.model in self._leaving:
            self._leaving[change.model].moved()
        owner = self._owner.get(change.replica)
        if owner is not None:
            self.learning.replica_changed(change, owner.level)
        self._loop.nudge()

    def _round(self, now: float) -> Plan:
        view = observe(self._sources, now, self._started_at)
        made = self._plan(view, self._policy)
        if is_news(self.last_plan, made):
            for record in self._recorders:
                record(view, self._policy, made)
        if made.actions or made.denied or any(blocked.final for blocked in made.blocked.values()):
            self._publish(made)
        self._tell_notes(made)
        self.last_plan = made
        self._patience.hear(made)
        self._executor.perform(made.actions, now)
        self.gate.note_plan(made, now)
        for model, blocked in made.blocked.items():
            if blocked.final:
                self.gate.refuse_all(model, refusal_for(blocked, now))
        if made.denied or made.settled:
            self._wishes.deny(made.denied)
            self._wishes.settle(made.settled)
            self._loop.nudge()  # without the order other rules hold
        return made

    def _tell_notes(self, made: Plan) -> None:
        """Once, though each plan says it again with other numbers."""
        if self.last_plan is None or len(made.notes) > len(self.last_plan.notes):
            for note in made.notes:
                log.warning("%s", note)

    def _publish(self, made: Plan) -> None:
        for hear in self._hearers:
            try:
                hear(made)
            except Exception:
                log.exception("a listener to plans failed on: %s", "; ".join(map(phrase, made.actions)))


def _unknown(name: str) -> OrderResult:
    message = f'There is no model "{name}". GET /v1/models lists them.'
    return OrderResult(success=False, changed=False, state="unknown", message=message, status=404)
