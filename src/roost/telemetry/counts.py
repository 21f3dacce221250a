"""What is counted for one model, as plain integers. Pure values: `telemetry/recorder.py` adds, `metrics.py` reads."""

from dataclasses import dataclass

from roost.core.lifecycle import State
from roost.core.request import HiddenFailure, Outcome
from roost.telemetry import latency
from roost.telemetry.latency import Histogram
from roost.telemetry.traffic import Traffic


@dataclass(frozen=True, slots=True)
class ModelGauges:
    """What a model is at the moment of a scrape."""

    model: str
    state: State
    in_flight: int
    queue_depth: int
    replicas: tuple["ReplicaGauge", ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaGauge:
    """One replica of a model at that moment."""

    replica: str
    failures: int
    """Requests that it failed: refused, broken off or silent before the first byte, or answered with an error of its
    own. Only ever rises."""
    avoided: bool
    """Others get its requests where they can."""


class ModelCounts:
    """All that is counted for one model. Requests that found no model are counted under the name `""`."""

    def __init__(self) -> None:
        self.ended: dict[tuple[Outcome | None, int | None], int] = {}
        """(outcome, status sent) -> how many."""
        self.hidden_failures: dict[HiddenFailure, int] = {}
        """Answers that failed though their status was 200, by how."""
        self.stalls = 0
        """How often a replica stood still and was taken out of service for it."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.duration = Histogram(latency.DURATION_S)
        self.ttft = Histogram(latency.TTFT_S)
        self.upstream_ttft = Histogram(latency.UPSTREAM_TTFT_S)
        self.itl = Histogram(latency.ITL_S)
        self.queue_wait = Histogram(latency.QUEUE_WAIT_S)
        self.transitions: dict[str, Histogram] = {}
        """Transition (load, wake, sleep, unload, drain) -> durations of those that got where they were to."""
        self.failed_transitions: dict[str, int] = {}
        self.steps: dict[tuple[str, str], Histogram] = {}
        """(operation, step) -> durations of the calls made for it, tries and waits included."""
        self.evictions: dict[str, int] = {}
        """Kind of reason -> how often a replica was put to sleep or stopped by an order with it."""
        self.traffic = Traffic()
