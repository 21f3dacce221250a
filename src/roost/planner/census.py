"""Which models a round has to look at and for what, kept from round to round.

Most models of a fleet rest, and most of the others are as they were a round ago: what is found out about one holds as
long as its view is the very same object. A plan is the same without it, and much later made. Bounded by the fleet: one
entry per model. Pure; kept by `plan.Planner`, read through `draft`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_not

from roost.core.lifecycle import COLD, DRAINING, State
from roost.core.view import FleetView, ModelView, Policy, ReplicaView
from roost.planner.weights import Amounts, Choice

_STARTS = frozenset({State.STARTING, State.WAKING})
_RESTS = frozenset({State.READY, State.ASLEEP})


@dataclass(slots=True)
class Held:
    """What one replica holds; filled by `room`."""

    pair: tuple[ModelView, ReplicaView]
    amounts: Amounts
    left: Amounts
    """Given back, and not yet seen free."""
    after: State | None
    """Where it comes to rest if it is on its way down before anything is ordered in this round."""
    frees: dict[tuple[State, int | None], Amounts] = field(default_factory=dict)
    """By where it would come to rest, and at which level: what it would give back."""


@dataclass(slots=True)
class Entry:
    """One model."""

    model: ModelView
    stirs: bool
    """It is not cold, or somebody asks for it."""
    was_used: bool
    goes_down: bool
    """An order stands for it, or it drains."""
    is_wanted: bool
    is_kept: bool
    """Up though nobody asks: preloaded, or pinned."""
    revives: bool
    is_timed: bool
    """A clock of idleness runs for it."""
    is_special: bool
    """Any of these, or a schedule wants it down."""
    starts: int
    """Its engines that are starting."""
    held: tuple[Held, ...] | None = None
    """None: not weighed yet."""
    needs: dict[tuple[str, tuple[str, ...] | None], Amounts] = field(default_factory=dict)
    """By replica and devices: what it takes to be awake there, as far as somebody asked."""
    choices: dict[str, Choice] = field(default_factory=dict)
    """By replica: where it may come up, as far as somebody asked."""


class Census:
    """What is known of each model."""

    def __init__(self) -> None:
        self._seen: list[ModelView | None] = []
        """Of whom the entries speak; None where that holds for one round only."""
        self._entries: list[Entry] = []
        self._ledger: object = None

    def look(self, view: FleetView, policy: Policy, limits: Iterable[str]) -> list[Entry]:
        """The models that do not rest, in the view's order; `limits`: the keys of the round's ledger."""
        ledger = tuple(limits), view.memory
        if ledger != self._ledger or len(self._seen) != len(view.models):
            self._ledger, self._seen = ledger, [None] * len(view.models)
            self._entries = [_entry(model, view.pending) for model in view.models]
        self._renew(view)
        if view.memory.matrix is not None:  # it is made of the names of all models
            return self._entries
        if policy.spec.wake_ahead or policy.spec.idle != "fixed":
            found = [one for one in self._entries if one.stirs or one.was_used or _is_foreseen(view, one.model)]
        else:
            found = [one for one in self._entries if one.stirs]
        names = {one.model.host for one in found if one.is_wanted and one.model.host}
        if names:  # who is to come up inside an engine wants that as well
            names.update([one.model.name for one in found])
            found = [one for one in self._entries if one.model.name in names]
        return found

    def _renew(self, view: FleetView) -> None:
        for number in compress(count(), map(is_not, view.models, self._seen)):
            self._entries[number] = _entry(view.models[number], view.pending)
            self._seen[number] = view.models[number]
        ordered = {replica.rpartition("/")[0] for replica in view.pending}
        for number, model in enumerate(view.models if ordered else ()):
            if model.name in ordered:
                self._entries[number], self._seen[number] = _entry(model, view.pending), None


def _entry(model: ModelView, pending: Mapping[str, str]) -> Entry:
    spec, replicas = model.spec, model.replicas
    states = [replica.state for replica in replicas]
    asked = model.waiting > 0 or model.wish is not None
    is_kept = model.pinned or spec.preload
    moves = any(map(_moves, replicas)) or any(replica.id in pending for replica in replicas)
    goes_down = model.wish is not None or DRAINING in states
    is_wanted = asked or model.called is not None or any(replica.stranded for replica in replicas)
    revives = any(replica.revive for replica in replicas)
    has_clocks = spec.sleep_after is not None or spec.unload_after is not None
    is_timed = has_clocks and not _RESTS.isdisjoint(states)
    return Entry(
        model=model,
        stirs=asked or model.onlookers > 0 or is_kept or moves,
        was_used=any(replica.last_used_at is not None for replica in replicas),
        goes_down=goes_down,
        is_wanted=is_wanted,
        is_kept=is_kept,
        revives=revives,
        is_timed=is_timed,
        is_special=goes_down or is_wanted or is_kept or revives or is_timed or model.rests is not None,
        starts=sum(
            (replica.state in _STARTS or pending.get(replica.id) in ("load", "wake")) and not replica.base
            for replica in replicas
        ),
    )


def _is_foreseen(view: FleetView, model: ModelView) -> bool:
    return model.forecast is not None or (view.outlooks is not None and view.outlooks.of(model.name) is not None)


def _moves(replica: ReplicaView) -> bool:
    return replica.state is not COLD or replica.revive or replica.lingering > 0 or replica.in_flight > 0
