"""How long the steps of sleeps and wakes take, as metrics."""

from roost.core.events import Performed
from roost.core.step import Operation, StepRecord
from roost.telemetry.recorder import STEPS_MAX
from tests.unit.telemetry.test_recorder import recorder, samples, value

NAME = "roost_step_duration_seconds"


def record(name: str, took_s: float = 1.0, **fields: str) -> StepRecord:
    return StepRecord(name=name, started_at=0.0, duration_s=took_s, status=200, **fields)  # type: ignore[arg-type]


def performed(*steps: StepRecord, operation: Operation = Operation.WAKE, error: str = "") -> Performed:
    return Performed(
        replica="a/0",
        model="a",
        operation=operation,
        level=2,
        started_at=0.0,
        duration_s=1.0,
        steps=steps,
        error=error,
    )


def test_x5_each_step_is_a_histogram_of_its_own() -> None:
    one = recorder()
    steps = (record("POST /wake_up?tags=weights", 0.4), record("POST /collective_rpc", 2.0))
    one.performed(performed(*steps))
    one.performed(performed(*steps, record("POST /b", 9.0, error="it answered 500"), error="step 3 failed"))
    one.performed(performed(record("POST /sleep?level=2", 3.0), operation=Operation.SLEEP))
    wake = {"model": "a", "operation": "wake"}
    assert value(one, f"{NAME}_sum", {**wake, "step": "POST /wake_up?tags=weights"}) == 0.8
    assert value(one, f"{NAME}_bucket", {**wake, "step": "POST /wake_up?tags=weights", "le": "0.5"}) == 2
    assert value(one, f"{NAME}_count", {**wake, "step": "POST /collective_rpc"}) == 2
    assert value(one, f"{NAME}_count", {**wake, "step": "POST /b"}) == 1
    assert value(one, f"{NAME}_sum", {"model": "a", "operation": "sleep", "step": "POST /sleep?level=2"}) == 3


def test_skipped_steps_took_no_time_and_are_not_counted() -> None:
    one = recorder()
    one.performed(performed(record("POST /a", 0.0, skipped="the sleep level is 1, not 2")))
    assert not [name for name, _ in samples(one) if name.startswith(NAME)]


def test_the_address_of_a_step_elsewhere_is_no_label_for_its_port_may_change() -> None:
    one = recorder()
    one.performed(performed(record("POST http://127.0.0.1:5801/x?y=http://z"), record("PUT https://h:1/")))
    labels = {dict(labels)["step"] for name, labels in samples(one) if name == f"{NAME}_count"}
    assert labels == {"POST /x?y=http://z", "PUT /"}


def test_series_of_steps_are_bounded() -> None:
    one = recorder()
    one.performed(performed(*(record(f"POST /{number}") for number in range(STEPS_MAX + 5))))
    counted = {dict(labels)["step"]: v for (name, labels), v in samples(one).items() if name == f"{NAME}_count"}
    assert len(counted) == STEPS_MAX + 1
    assert counted["other"] == 5
