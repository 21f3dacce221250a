"""Hears of every request and change and counts them: the data plane's Watcher, and a listener of replicas.

Quick and never raises: `gap` runs once per streamed piece, `settled` once per request. Only configured model
names become labels, never a name that a client made up. Made by `app`; read through `text` and `model`.
"""

from collections.abc import Callable, Sequence

from roost.core.events import Changed, Performed
from roost.core.lifecycle import Event, Fact, Order, State
from roost.core.request import Outcome, Request
from roost.telemetry import latency
from roost.telemetry.counts import ModelCounts, ModelGauges
from roost.telemetry.latency import Histogram
from roost.telemetry.metrics import Metrics
from roost.telemetry.traffic import Ended

_DONE: dict[State, tuple[str, frozenset[Event]]] = {
    State.STARTING: ("load", frozenset({Fact.READY, Fact.FELL_ASLEEP})),
    State.WAKING: ("wake", frozenset({Fact.READY})),
    State.SUSPENDING: ("sleep", frozenset({Fact.FELL_ASLEEP})),
    State.STOPPING: ("unload", frozenset({Fact.GONE, Fact.GONE_AFTER_FAILURE})),
    State.DRAINING: ("drain", frozenset({Order.SLEEP, Order.STOP, Fact.FELL_ASLEEP})),
}
"""State under way -> the transition's name and what ends it well. An order that breaks it off is neither good
nor a failure; any other fact is a failure."""
STEPS_MAX = 100
"""Series of steps for one model: two full lists of a config and what verifies them; more are counted together."""
_OTHER = "other"
RETIRED_MAX = 256
"""Removed models whose counts are kept."""
_TAKES_AWAY = frozenset({State.SUSPENDING, State.STOPPING})


class Recorder:
    """Counts per model. `gauges` is called at each scrape and must be quick."""

    def __init__(self, gauges: Callable[[], Sequence[ModelGauges]], version: str) -> None:
        self.models: dict[str, ModelCounts] = {}
        self._retired: dict[str, None] = {}
        self._metrics = Metrics(self.models, gauges, version)

    def model(self, name: str) -> ModelCounts:
        """The counts of a configured model; made at its first use."""
        counts = self.models.get(name)
        if counts is None:
            counts = self.models[name] = ModelCounts()
        return counts

    def retire(self, name: str) -> None:
        """The model was removed. Its counts stay, for it may come back; of very many removed ones the oldest go."""
        self._retired.pop(name, None)
        self._retired[name] = None
        if len(self._retired) > RETIRED_MAX:
            oldest = next(iter(self._retired))
            del self._retired[oldest]
            self.models.pop(oldest, None)

    def revive(self, name: str) -> None:
        """It has come back."""
        self._retired.pop(name, None)

    def erase(self, name: str) -> None:
        """A name that turned out to be nobody's: nothing of it is kept."""
        self._retired.pop(name, None)
        self.models.pop(name, None)

    def text(self) -> bytes:
        """All of it as Prometheus text, format 0.0.4."""
        return self._metrics.text()

    def began(self, request: Request) -> None:
        """Nothing: in-flight is the gate's count, read at scrape time."""

    def gap(self, request: Request, seconds: float) -> None:
        """Time between two pieces of a streamed answer."""
        route = request.route
        try:
            self.models[route.name if route is not None else ""].itl.add(seconds)
        except KeyError:
            self.model(route.name if route is not None else "").itl.add(seconds)

    def settled(self, request: Request) -> None:
        """Count a request that is over."""
        route = request.route
        counts = self.model(route.name if route is not None else "")
        end = (request.outcome, request.status)
        counts.ended[end] = counts.ended.get(end, 0) + 1
        if request.hidden is not None:
            counts.hidden_failures[request.hidden] = counts.hidden_failures.get(request.hidden, 0) + 1
        tokens_in, tokens_out = request.prompt_tokens or 0, request.completion_tokens or 0
        counts.prompt_tokens += tokens_in
        counts.completion_tokens += tokens_out
        _time(counts, request)
        if route is not None and request.counts and request.ended_at is not None:
            took_s, first_at = request.ended_at - request.received_at, request.first_token_at or request.first_byte_at
            ttft_s = None if first_at is None else first_at - request.received_at
            counts.traffic.add(request.ended_at, _ended(request), took_s, ttft_s, (tokens_in, tokens_out))

    def changed(self, change: Changed) -> None:
        """Count a replica's change of state: the end of a transition, or the start of one that takes it away."""
        counts = self.model(change.model)
        if change.event is Fact.STALLED:
            counts.stalls += 1
        if change.after in _TAKES_AWAY and isinstance(change.event, Order):
            counts.evictions[change.reason_kind] = counts.evictions.get(change.reason_kind, 0) + 1
        if change.before not in _DONE or change.took_s is None:
            return
        name, good = _DONE[change.before]
        if change.event in good:
            counts.transitions.setdefault(name, Histogram(latency.TRANSITION_S)).add(change.took_s)
        elif isinstance(change.event, Fact):
            counts.failed_transitions[name] = counts.failed_transitions.get(name, 0) + 1

    def performed(self, performed: Performed) -> None:
        """Count how long each step took that was done, well or not."""
        steps = self.model(performed.model).steps
        for record in performed.steps:
            if record.skipped:
                continue
            key = (str(performed.operation), record.label)
            if key not in steps and len(steps) >= STEPS_MAX:
                key = (str(performed.operation), _OTHER)
            steps.setdefault(key, Histogram(latency.STEP_S)).add(record.duration_s)


def _ended(request: Request) -> Ended:
    """As statistics see it: an answer that went out whole and is no error. A stream counts as what it was."""
    if request.outcome == Outcome.OK:
        return Ended.OK if (request.status or 500) < 400 else Ended.FAILED
    return Ended.CANCELLED if request.outcome == Outcome.CLIENT_GONE else Ended.FAILED


def _time(counts: ModelCounts, request: Request) -> None:
    ended_at, first_token_at = request.ended_at, request.first_token_at
    if ended_at is not None:
        counts.duration.add(ended_at - request.received_at)
    if first_token_at is not None:
        counts.ttft.add(first_token_at - request.received_at)
    first_at = first_token_at if first_token_at is not None else request.first_byte_at
    if first_at is not None and request.sent_at is not None:
        counts.upstream_ttft.add(first_at - request.sent_at)
    left_at = request.leased_at if request.leased_at is not None else ended_at
    if request.queued_at is not None and left_at is not None:
        counts.queue_wait.add(left_at - request.queued_at)
    elif request.leased_at is not None:
        counts.queue_wait.add(0.0)
