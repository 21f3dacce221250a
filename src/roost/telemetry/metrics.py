"""Prometheus text out of plain integers, made when it is asked for: counting costs nothing extra until then.

Holds no counts of its own and uses its own registry. Owned by `telemetry/recorder.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from roost.core.lifecycle import State
from roost.telemetry.counts import ModelCounts, ModelGauges
from roost.telemetry.latency import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HISTOGRAMS: tuple[tuple[str, str, Callable[[ModelCounts], Histogram]], ...] = (
    ("roost_request_duration_seconds", "Request head read to the last byte sent.", lambda counts: counts.duration),
    ("roost_ttft_seconds", "Request head read to the first token sent on, queue and load included.", lambda c: c.ttft),
    (
        "roost_upstream_ttft_seconds",
        "Request sent to the engine to its first token, or first byte where it does not stream.",
        lambda counts: counts.upstream_ttft,
    ),
    ("roost_itl_seconds", "Between two pieces of a streamed answer.", lambda counts: counts.itl),
    ("roost_queue_wait_seconds", "In the queue; 0 for a request that met a ready replica.", lambda c: c.queue_wait),
)


class Metrics:
    """The text of `GET /metrics` over counts that others add to; `gauges` is called at each scrape."""

    def __init__(
        self, models: Mapping[str, ModelCounts], gauges: Callable[[], Sequence[ModelGauges]], version: str
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Scrape(models, gauges, version))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Prometheus text format 0.0.4."""
        return generate_latest(self._registry)


class _Scrape(Collector):
    def __init__(
        self, models: Mapping[str, ModelCounts], gauges: Callable[[], Sequence[ModelGauges]], version: str
    ) -> None:
        self._models = models
        self._read_gauges = gauges
        self._version = version

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        models = self._models
        build = GaugeMetricFamily("roost_build_info", "Always 1; the version is a label.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        yield from self._gauges()
        yield _requests(models)
        yield _by_kind(
            "roost_hidden_failures",
            "Answers that failed though their status was 200.",
            "kind",
            {m: {kind.value: count for kind, count in c.hidden_failures.items()} for m, c in models.items()},
        )
        yield _stalls(models)
        yield _tokens(models)
        for name, text, pick in _HISTOGRAMS:
            yield _histogram(name, text, {model: pick(counts) for model, counts in models.items()})
        yield from _transitions(models)
        yield _steps(models)
        yield _by_kind(
            "roost_evictions",
            "Replicas ordered to sleep or stop.",
            "reason",
            {m: c.evictions for m, c in models.items()},
        )

    def _gauges(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily("roost_in_flight", "Requests at an engine.", labels=["model"])
        depth = GaugeMetricFamily("roost_queue_depth", "Requests that wait for a replica.", labels=["model"])
        state = GaugeMetricFamily("roost_model_state", "1 for the present state.", labels=["model", "state"])
        failures = CounterMetricFamily(
            "roost_replica_failures", "Requests that a replica failed.", labels=["model", "replica"]
        )
        avoided = GaugeMetricFamily(
            "roost_replica_avoided", "1 while others get its requests.", labels=["model", "replica"]
        )
        for now in self._read_gauges():
            in_flight.add_metric([now.model], now.in_flight)
            depth.add_metric([now.model], now.queue_depth)
            for one in State:
                state.add_metric([now.model, one.value], 1 if one is now.state else 0)
            for each in now.replicas:
                failures.add_metric([now.model, each.replica], each.failures)
                avoided.add_metric([now.model, each.replica], int(each.avoided))
        yield from (in_flight, depth, state, failures, avoided)


def _requests(models: Mapping[str, ModelCounts]) -> Metric:
    family = CounterMetricFamily("roost_requests", "Requests that ended.", labels=["model", "outcome", "status"])
    for model, counts in models.items():
        for (outcome, status), count in counts.ended.items():
            labels = [model, "" if outcome is None else outcome.value, "" if status is None else str(status)]
            family.add_metric(labels, count)
    return family


def _stalls(models: Mapping[str, ModelCounts]) -> Metric:
    text = "Engines that answered their probes while their answers stood still, and were restarted for it."
    family = CounterMetricFamily("roost_stalls", text, labels=["model"])
    for model, counts in models.items():
        family.add_metric([model], counts.stalls)
    return family


def _tokens(models: Mapping[str, ModelCounts]) -> Metric:
    family = CounterMetricFamily("roost_tokens", "Tokens, where the engine tells.", labels=["model", "kind"])
    for model, counts in models.items():
        family.add_metric([model, "prompt"], counts.prompt_tokens)
        family.add_metric([model, "completion"], counts.completion_tokens)
    return family


def _histogram(name: str, text: str, by_model: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["model"])
    for model, histogram in by_model.items():
        family.add_metric([model], histogram.cumulative(), histogram.total_s)
    return family


def _transitions(models: Mapping[str, ModelCounts]) -> Iterator[Metric]:
    done = {m: {kind: h.count for kind, h in c.transitions.items()} for m, c in models.items()}
    yield _by_kind("roost_transitions", "Transitions that got where they were to.", "transition", done)
    failed = {m: c.failed_transitions for m, c in models.items()}
    yield _by_kind("roost_transition_failures", "Transitions that failed.", "transition", failed)
    labels = ["model", "transition"]
    lasted = HistogramMetricFamily("roost_transition_duration_seconds", "How long transitions took.", labels=labels)
    for model, counts in models.items():
        for kind, histogram in counts.transitions.items():
            lasted.add_metric([model, kind], histogram.cumulative(), histogram.total_s)
    yield lasted


def _steps(models: Mapping[str, ModelCounts]) -> Metric:
    text = "How long each step of a sleep, wake or load took."
    family = HistogramMetricFamily("roost_step_duration_seconds", text, labels=["model", "operation", "step"])
    for model, counts in models.items():
        for (operation, step), histogram in counts.steps.items():
            family.add_metric([model, operation, step], histogram.cumulative(), histogram.total_s)
    return family


def _by_kind(name: str, text: str, label: str, by_model: dict[str, dict[str, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["model", label])
    for model, counts in by_model.items():
        for kind, count in counts.items():
            family.add_metric([model, kind], count)
    return family
