from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from roost.core.events import Changed
from roost.core.lifecycle import Event, Fact, Order, State
from roost.core.request import HiddenFailure, Outcome, Request, Route
from roost.core.server_spec import KeySpec
from roost.core.spec import EngineKind, ModelSpec
from roost.telemetry.counts import ModelGauges
from roost.telemetry.recorder import Recorder

ROUTE = Route(name="a", asked="alias-of-a", spec=ModelSpec(engine=EngineKind.COMMAND))


def recorder() -> Recorder:
    return Recorder(lambda: [ModelGauges("a", State.READY, 2, 3)], "9.9.9")


def request(**known: Any) -> Request:
    fields: dict[str, Any] = {"route": ROUTE, "outcome": Outcome.OK, "status": 200, "ended_at": 12.0}
    fields |= known
    return Request("r", fields.pop("received_at", 10.0), **fields)


def samples(recorder: Recorder) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(recorder.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(recorder: Recorder, name: str, labels: Mapping[str, str]) -> float | None:
    return samples(recorder).get((name, frozenset(labels.items())))


def change(before: State, after: State, event: Event, kind: str = "fact", took_s: float | None = None) -> Changed:
    return Changed(
        replica="a/0",
        model="a",
        before=before,
        after=after,
        event=event,
        at=1.0,
        reason="a sentence",
        reason_kind=kind,
        took_s=took_s,
    )


def test_a_streamed_answer_is_timed_from_head_to_last_byte() -> None:
    one = recorder()
    one.settled(
        request(
            queued_at=10.1,
            leased_at=10.5,
            sent_at=10.5,
            first_byte_at=10.6,
            first_token_at=10.9,
            prompt_tokens=7,
            completion_tokens=5,
        )
    )
    for name, seconds in {
        "roost_request_duration_seconds": 2.0,
        "roost_ttft_seconds": 0.9,
        "roost_upstream_ttft_seconds": 0.4,
        "roost_queue_wait_seconds": 0.4,
    }.items():
        assert round(value(one, name + "_sum", {"model": "a"}) or 0, 6) == seconds
        assert value(one, name + "_count", {"model": "a"}) == 1
    assert value(one, "roost_requests_total", {"model": "a", "outcome": "ok", "status": "200"}) == 1
    assert value(one, "roost_tokens_total", {"model": "a", "kind": "prompt"}) == 7
    assert value(one, "roost_tokens_total", {"model": "a", "kind": "completion"}) == 5


def test_without_a_stream_the_first_byte_counts_upstream_and_there_is_no_ttft() -> None:
    one = recorder()
    one.settled(request(leased_at=10.0, sent_at=10.0, first_byte_at=11.5))
    assert value(one, "roost_upstream_ttft_seconds_sum", {"model": "a"}) == 1.5
    assert value(one, "roost_ttft_seconds_count", {"model": "a"}) == 0
    assert value(one, "roost_queue_wait_seconds_sum", {"model": "a"}) == 0
    assert value(one, "roost_queue_wait_seconds_count", {"model": "a"}) == 1


def test_who_leaves_the_queue_has_waited_too() -> None:
    one = recorder()
    one.settled(request(queued_at=10.5, outcome=Outcome.CLIENT_GONE, status=None))
    assert value(one, "roost_queue_wait_seconds_sum", {"model": "a"}) == 1.5
    assert value(one, "roost_requests_total", {"model": "a", "outcome": "client_gone", "status": ""}) == 1


def test_names_that_clients_make_up_become_no_label() -> None:
    one = recorder()
    one.settled(request(route=None, outcome=Outcome.REFUSED, status=404, path="/v1/x", client="evil"))
    one.settled(request())
    assert {dict(labels)["model"] for name, labels in samples(one) if name.startswith("roost_requests")} == {"", "a"}
    assert b"alias-of-a" not in one.text()


def test_probes_are_in_the_metrics_and_not_in_the_rates() -> None:
    one = recorder()
    one.settled(request(key=KeySpec(name="probe", key="k", counts=False)))
    assert value(one, "roost_requests_total", {"model": "a", "outcome": "ok", "status": "200"}) == 1
    assert one.model("a").traffic.last_request_at is None
    one.settled(request())
    assert one.model("a").traffic.rates(12.0, 10).requests == 0.1


def test_gaps_of_a_model_never_seen_before_are_counted() -> None:
    one = recorder()
    one.gap(request(), 0.02)
    one.gap(request(), 0.03)
    one.gap(request(route=None), 0.5)
    assert value(one, "roost_itl_seconds_count", {"model": "a"}) == 2
    assert value(one, "roost_itl_seconds_bucket", {"model": "a", "le": "0.025"}) == 1
    assert value(one, "roost_itl_seconds_count", {"model": ""}) == 1


def test_exactly_one_state_is_one() -> None:
    found = {
        dict(labels)["state"]: v for (name, labels), v in samples(recorder()).items() if name == "roost_model_state"
    }
    assert set(found) == {state.value for state in State}
    assert [state for state, v in found.items() if v == 1] == ["ready"]
    assert value(recorder(), "roost_in_flight", {"model": "a"}) == 2
    assert value(recorder(), "roost_queue_depth", {"model": "a"}) == 3
    assert value(recorder(), "roost_build_info", {"version": "9.9.9"}) == 1


def test_transitions_count_where_they_arrive_and_failures_apart() -> None:
    one = recorder()
    one.changed(change(State.COLD, State.STARTING, Order.LOAD, "demand"))
    one.changed(change(State.STARTING, State.READY, Fact.READY, took_s=20.0))
    one.changed(change(State.WAKING, State.STOPPING, Fact.STEP_FAILED, took_s=3.0))
    one.changed(change(State.DRAINING, State.READY, Order.UNDRAIN, took_s=1.0))
    one.changed(change(State.STOPPING, State.COLD, Fact.GONE, took_s=2.0))
    assert value(one, "roost_transitions_total", {"model": "a", "transition": "load"}) == 1
    assert value(one, "roost_transition_duration_seconds_sum", {"model": "a", "transition": "load"}) == 20.0
    assert value(one, "roost_transitions_total", {"model": "a", "transition": "unload"}) == 1
    assert value(one, "roost_transitions_total", {"model": "a", "transition": "drain"}) is None
    assert value(one, "roost_transition_failures_total", {"model": "a", "transition": "wake"}) == 1
    assert value(one, "roost_transition_failures_total", {"model": "a", "transition": "drain"}) is None


def test_an_eviction_counts_once_from_drain_to_sleep() -> None:
    one = recorder()
    one.changed(change(State.READY, State.DRAINING, Order.DRAIN, "evict"))
    one.changed(change(State.DRAINING, State.SUSPENDING, Order.SLEEP, "evict", took_s=0.1))
    one.changed(change(State.SUSPENDING, State.ASLEEP, Fact.FELL_ASLEEP, took_s=1.0))
    one.changed(change(State.WAKING, State.STOPPING, Fact.STEP_FAILED, took_s=1.0))
    assert value(one, "roost_evictions_total", {"model": "a", "reason": "evict"}) == 1
    assert value(one, "roost_evictions_total", {"model": "a", "reason": "fact"}) is None


def test_five_thousand_requests_a_second_come_out_as_that() -> None:
    one = recorder()
    for number in range(20_000):
        ended_at = 100.0 + number / 5000
        one.settled(request(received_at=ended_at - 0.02, ended_at=ended_at))
    traffic = one.model("a").traffic
    assert round(traffic.rates(103.9999, 4).requests) == 5000
    assert traffic.total().requests == 20_000
    assert round(traffic.total().response_s or 0, 6) == 0.02


def test_each_request_counts_as_how_it_ended() -> None:
    one = recorder()
    one.settled(request(first_token_at=10.5))
    one.settled(request(status=429))
    one.settled(request(outcome=Outcome.ENGINE_FAILED, first_token_at=10.1))
    one.settled(request(outcome=Outcome.REFUSED, status=503))
    one.settled(request(outcome=Outcome.CLIENT_GONE, status=499))
    total = one.model("a").traffic.total()
    assert (total.requests, total.successful, total.failed, total.cancelled) == (5, 1, 3, 1)
    assert (total.response_s, total.ttft_s) == (2.0, 0.5)


def test_names_that_clients_make_up_have_no_traffic() -> None:
    one = recorder()
    one.settled(request(route=None, outcome=Outcome.REFUSED, status=404))
    assert set(one.models) == {""}
    assert one.model("").traffic.total().requests == 0


def test_hidden_failures_and_stalls_are_counted() -> None:
    one = recorder()
    for _ in range(2):
        one.settled(request(outcome=Outcome.ENGINE_FAILED, hidden=HiddenFailure.ABORT))
    one.settled(request())
    one.changed(change(State.READY, State.DRAINING, Fact.STALLED))
    assert value(one, "roost_hidden_failures_total", {"model": "a", "kind": "abort"}) == 2
    assert value(one, "roost_stalls_total", {"model": "a"}) == 1
    total = one.model("a").traffic.total()
    assert (total.failed, total.successful) == (2, 1)
