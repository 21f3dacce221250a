"""The only door of the planner: a view of the fleet and a policy in, a plan out.

Total, deterministic, silent: the same view gives the same plan, and nothing here reads a clock, logs or raises.
A plan holds only what may start now; chains (drain, sleep, wake) come out of successive rounds.
Called by `control/loop.py` and by whoever wants to show what would be done.
"""

from roost.core.plan import Plan
from roost.core.view import FleetView, Policy
from roost.planner.ahead import ahead
from roost.planner.draft import Draft
from roost.planner.guests import hosting
from roost.planner.idle import descend
from roost.planner.lower import lower
from roost.planner.preload import preload, revive
from roost.planner.relieve import relieve
from roost.planner.rise import rise_first, rise_others, wants
from roost.planner.scheduled import let_rest
from roost.planner.stirring import stirring


def plan(view: FleetView, policy: Policy) -> Plan:
    """What to do at `view.now`, what is blocked and why, and when to look again at the latest."""
    view = stirring(hosting(view), policy)
    draft = Draft(view, policy)
    draft.at(view.schedule_changes_at)
    for model in draft.view.models:
        lower(draft, model)
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
