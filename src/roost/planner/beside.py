"""What groups and matrix say to one newcomer now: who of those that are here must be gone before it may come up.

Joins the rules (`company`) with what the round has decided so far. Pure; called by `rise`, `preload` and `victims`.
"""

from roost.core.lifecycle import State
from roost.core.view import ModelView, ReplicaView
from roost.planner.company import Present, Verdict
from roost.planner.draft import Draft
from roost.planner.hold import firm
from roost.planner.weights import takes_place

_CLEAR = Verdict()


def judge(draft: Draft, model: ModelView, replica: ReplicaView, breaks: str = "") -> Verdict:
    """For the first replica of a model that is to come up; `breaks` is `pin` where pins do not count."""
    rules, here, promised = draft.company.rules, draft.company.here, draft.company.promised
    if rules is None or not takes_place(replica, State.READY):
        return _CLEAR
    staying: list[str] = []
    leaving: list[str] = []
    fast: list[str] = []
    for other in draft.models:
        if other is model or other.name in promised or other.name not in here:
            continue
        kind = leaving if _is_leaving(draft, other) else fast if _is_firm(draft, other, breaks) else staying
        kind.append(other.name)
    present = Present(
        staying=tuple(staying),
        leaving=tuple(leaving),
        firm=tuple(fast),
        promised=tuple(name for name in promised if name != model.name),
    )
    return rules.judge(model.name, present)


def may_come(draft: Draft, model: ModelView, replica: ReplicaView) -> bool:
    """Whether a replica may come up without anybody yielding: beside those of its own model always, unless an older
    want waits for that model to go."""
    company = draft.company
    if company.rules is None:
        return True
    if model.name in company.here and _is_up(draft, model) and not _is_leaving(draft, model):
        return not company.is_awaited_gone(model.name)
    return judge(draft, model, replica).clear


def _is_up(draft: Draft, model: ModelView) -> bool:
    """More of it is here than an engine that somebody paused: that one has yet to be let in beside the others."""
    if model.name in draft.company.joined:
        return True
    pending = draft.view.pending
    return any(draft.is_here(r) and (r.state is not State.ASLEEP or r.id in pending) for r in model.replicas)


def _is_leaving(draft: Draft, model: ModelView) -> bool:
    """Every replica of it that is here is on its way down."""
    if model.name in draft.company.joined:
        return False
    return all(draft.destination(replica) is not None for replica in model.replicas if draft.is_here(replica))


def _is_firm(draft: Draft, model: ModelView, breaks: str) -> bool:
    here = (replica for replica in model.replicas if draft.is_here(replica))
    return any(firm(draft, model, replica, sibling=False, breaks=breaks) for replica in here)
