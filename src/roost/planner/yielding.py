"""Who may yield to a newcomer, and in which order they should.

Never a pinned model, one inside `policy.residency`, one with an order standing, one whose turn it is, or one that
sleeps with requests; of the newcomer's own replicas one that is ready only where nobody else will do, for requests that
are with the newcomer already. Orders nothing. Pure; called by `victims`, `placement`, `relieve` and `ahead`.
"""

from dataclasses import dataclass, field

from roost.core.lifecycle import ASLEEP, READY
from roost.core.view import ModelView, ReplicaView
from roost.planner.company import Verdict
from roost.planner.draft import Draft
from roost.planner.rungs import last_used
from roost.planner.turns import has_its_turn
from roost.planner.weights import Amounts


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who needs the room, and since when."""

    model: ModelView
    replica: ReplicaView
    since: float
    verdict: Verdict
    """What groups and matrix say."""
    need: Amounts = field(default_factory=dict)
    """On the devices that were chosen for it."""
    breaks: str = ""
    """`pin` or `residency`, where it could else not be served and the operator allowed it."""
    found: list[tuple[ModelView, ReplicaView]] | None = None
    """Who may yield to it, once that was looked up."""


def candidates(draft: Draft, newcomer: Newcomer) -> list[tuple[ModelView, ReplicaView]]:
    """All who may yield to it, in the order in which they should: those whose pin would be broken after all others, of
    the rest its own last."""
    if newcomer.found is not None:
        return newcomer.found
    groups: dict[tuple[bool, bool], list[tuple[ModelView, ReplicaView]]] = {}
    for other, replica in _who_could_help(draft, newcomer):
        # One of the newcomer's own that sleeps may keep what the first to wake needs. One that is ready yields only to
        # requests that are with the newcomer already, and last of all.
        sibling = other.name == newcomer.model.name
        if replica.id == newcomer.replica.id or (other.pinned and newcomer.breaks != "pin"):
            continue
        if not sibling and (other.wish is not None or _is_spared(draft, other, replica, newcomer)):
            continue
        if draft.free(replica):
            group = other.pinned, sibling and replica.state is READY
            groups.setdefault(group, []).append((other, replica))
    return [pair for group in sorted(groups) for pair in groups[group]]


def _who_could_help(draft: Draft, newcomer: Newcomer) -> list[tuple[ModelView, ReplicaView]]:
    """Where its devices are chosen only those who hold something there: in a large fleet they are few."""
    found, on_device = _in_order(draft, newcomer.breaks), draft.room.on_device
    keys = [key for key, amount in newcomer.need.items() if amount > 0]
    if not keys or len(on_device) < 2 or newcomer.verdict.victims or not all(key in on_device for key in keys):
        return found
    there = {replica.id for key in keys for _, replica in on_device[key]}
    return [pair for pair in found if pair[1].id in there]


def _is_spared(draft: Draft, other: ModelView, replica: ReplicaView, newcomer: Newcomer) -> bool:
    return has_its_turn(draft, other, replica, newcomer.model, newcomer.since)


def _in_order(draft: Draft, breaks: str) -> list[tuple[ModelView, ReplicaView]]:
    """All who could go down now, whoever comes: once per round."""
    known = draft.yielding.get(breaks == "residency")
    if known is None:
        found = [pair for pair in draft.room.holders if can_yield(draft, pair[1], breaks)]
        known = sorted(found, key=lambda pair: (busy(*pair), last_used(pair[1])))
        draft.yielding[breaks == "residency"] = known
    return known


def can_yield(draft: Draft, replica: ReplicaView, breaks: str = "") -> bool:
    """It could go down now as far as it is concerned; if that is only a matter of time, the plan looks again then."""
    asleep = replica.state is ASLEEP and not replica.in_flight
    if not (asleep or replica.state is READY) or not draft.free(replica):
        return False
    stays_until = draft.stays_until(replica)
    draft.at(stays_until)
    return stays_until <= draft.now or breaks == "residency"


def busy(model: ModelView, replica: ReplicaView) -> bool:
    """Requests are with it, or wait for its model."""
    return replica.in_flight > 0 or model.waiting > 0 or model.onlookers > 0
