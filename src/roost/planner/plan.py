"""The only door of the planner: a view of the fleet and a policy in, a plan out.

Total, deterministic, silent: the same view gives the same plan, and nothing here reads a clock, logs or raises.
A plan holds only what may start now; chains (drain, sleep, wake) come out of successive rounds.
Called by `control/loop.py` and by whoever wants to show what would be done.
"""

from roost.core.plan import Plan
from roost.core.view import FleetView, Policy
from roost.planner.ahead import ahead
from roost.planner.census import Census
from roost.planner.draft import Draft
from roost.planner.guests import hosting
from roost.planner.idle import descend
from roost.planner.lower import lower
from roost.planner.preload import preload, revive
from roost.planner.relieve import relieve
from roost.planner.rise import rise_first, rise_others, wants
from roost.planner.scheduled import let_rest


class Planner:
    """Plans round after round, each from its view alone; what it remembers only spares it to find the same again."""

    def __init__(self) -> None:
        self._census = Census()

    def __call__(self, view: FleetView, policy: Policy) -> Plan:
        """As `plan`, sooner where most models are the objects of the view before."""
        return _plan(Draft(hosting(view), policy, self._census))


def plan(view: FleetView, policy: Policy) -> Plan:
    """What to do at `view.now`, what is blocked and why, and when to look again at the latest."""
    return Planner()(view, policy)


def _plan(draft: Draft) -> Plan:
    draft.at(draft.view.schedule_changes_at)
    for one in draft.special:
        if one.goes_down:
            lower(draft, one.model)
    draft.count_falling()
    wanted = wants(draft)
    for want in wanted:
        rise_first(draft, want)
    for want in wanted:
        rise_others(draft, want)
    relieve(draft)
    revive(draft)
    preload(draft)
    ahead(draft)
    let_rest(draft)
    descend(draft)
    return draft.finish()
