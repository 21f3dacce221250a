"""The watchdog: an engine that answers its probes while its running answers and its own counters stand still.

Looks at one replica that is ready or draining, as often as `watching` does; tells it the fact, and decides nothing
else. Counts only answers of which something has come (a long prompt is no stall) and whose client takes what comes. An
engine whose counters nobody can read may be at work all the same: of that it only warns.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roost import clock
from roost.core.errors import StepError
from roost.core.lifecycle import Fact
from roost.core.spec import EngineKind
from roost.core.units import format_duration
from roost.engines.progress import progress_query, read_progress
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica


class Standstill:
    """What was seen at the last look at one replica."""

    __slots__ = ("answers", "counter", "moved_at", "warned")

    def __init__(self) -> None:
        self.answers: Mapping[str, int] = {}
        """Answer -> how far it was."""
        self.counter: float | None = None
        """The engine's own counters, if they were asked since anything moved."""
        self.moved_at: float | None = None
        """When something last moved; None while no answer runs."""
        self.warned = False
        """It was said that they stand still, since they last moved."""

    def note(self, answers: Mapping[str, int], now: float) -> bool:
        """True if none of the answers has got any further since the last look. One that is gone says nothing: its
        client may have lost patience."""
        before, self.answers = self.answers, answers
        if not answers:
            self.moved_at, self.counter, self.warned = None, None, False
            return False
        if self.moved_at is None or any(before.get(answer) != far for answer, far in answers.items()):
            self.moved_at, self.counter, self.warned = now, None, False
            return False
        return True


async def look(replica: "Replica") -> None:
    """One look; marks the replica if it has stood still for `timeouts.stall_after`."""
    limit = replica.spec.timeouts.stall_after
    if limit is None or replica.stalled:
        return
    seen, since = replica.standstill, replica.since
    if not seen.note(replica.setup.answering(), clock.now()):
        return
    before, counter = seen.counter, await _counter(replica)
    if replica.since != since or seen.moved_at is None:
        return  # it changed while we asked
    now = clock.now()
    if counter is not None:
        seen.counter = counter
        if before is not None and counter != before:
            seen.moved_at, seen.warned = now, False
    still_s = now - seen.moved_at
    if still_s >= limit:
        _mark(replica, still_s)


async def _counter(replica: "Replica") -> float | None:
    kind = replica.spec.engine or EngineKind.COMMAND
    query = progress_query(kind)
    if query is None:
        return None
    try:
        return read_progress(kind, *await replica.caller.call(query))
    except StepError:
        return None


def _should_tell(replica: "Replica") -> bool:
    """Whether counters that cannot be read are a sign: only roost's own engine of a kind that has some."""
    return replica.owned and progress_query(replica.spec.engine or EngineKind.COMMAND) is not None


def _mark(replica: "Replica", still_s: float) -> None:
    seen = replica.standstill
    count = len(seen.answers)
    what = "1 running answer" if count == 1 else f"{count} running answers"
    own = "its own counters could not be read" if seen.counter is None else f"its own counters stay at {seen.counter:g}"
    why = (
        f"it stands still: {what} sent nothing for {format_duration(still_s)} (timeouts.stall_after) and {own}, "
        f"though it answers its probe"
    )
    if seen.counter is None and not _should_tell(replica):
        if not seen.warned:
            log.warning("%s: %s; that alone is no reason to take it down", replica.id, why)
        seen.warned = True
    elif replica.owned:
        replica.stands_still(why)
    else:
        replica.failed(Fact.GONE, why)
