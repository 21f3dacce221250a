"""A model's own steps as values."""

from dataclasses import replace
from typing import Any

import pytest

from roost.core.spec import EngineKind, ModelSpec, Task, TimeoutsSpec
from roost.core.step import Condition, Expect, Operation, Step, WaitUntil
from roost.core.step_spec import ConditionSpec, ExpectSpec, StepSpec, WaitSpec
from roost.engines.common import health_step
from roost.engines.own import filled, split_endpoint, step_of
from roost.engines.registry import adapter_for
from roost.engines.vllm import VLLM

SLEEP = (StepSpec(endpoint="/sleep?level=2"),)
WAKE = (StepSpec(endpoint="/wake_up"), StepSpec(endpoint="/collective_rpc", body='{"method": "reload_weights"}'))
OWN = ModelSpec(engine=EngineKind.VLLM, weights="w", sleep_level=2, sleep_steps=SLEEP, wake_steps=WAKE)


def made(model: ModelSpec = OWN, **fields: Any) -> Step:
    return step_of(StepSpec(**{"endpoint": "/x", **fields}), model, Operation.WAKE)


def test_steps_are_made_in_the_order_of_the_list() -> None:
    adapter = adapter_for(OWN)
    assert adapter.sleep(OWN, 2) == (Step(path="/sleep?level=2"),)
    assert adapter.wake(OWN, 2) == (
        Step(path="/wake_up"),
        Step(path="/collective_rpc", text='{"method": "reload_weights"}'),
    )


def test_all_else_is_as_the_engine_has_it() -> None:
    adapter = adapter_for(OWN)
    assert adapter.kind is EngineKind.VLLM
    assert adapter.sleep_levels(OWN) == (2,)
    assert adapter.probe(OWN) == VLLM.probe(OWN)
    assert adapter.sleep_query(OWN) == VLLM.sleep_query(OWN)
    assert adapter.is_asleep(200, {"is_sleeping": True}) is True
    assert adapter.verify(OWN, "a") == VLLM.verify(OWN, "a")
    assert adapter.inference_paths == VLLM.inference_paths
    assert adapter.validate("a", replace(OWN, weights=None)) == VLLM.validate("a", replace(OWN, weights=None))


def test_a_command_with_steps_can_sleep_and_is_not_asked_whether_it_does() -> None:
    own = replace(OWN, engine=EngineKind.COMMAND, command=("serve",), task=Task.OTHER)
    adapter = adapter_for(own)
    assert adapter.sleep_levels(own) == (2,)
    assert adapter.sleep_query(own) is None
    assert adapter.verify(own, "a") == health_step(own)
    assert adapter_for(replace(own, sleep_steps=(), wake_steps=())).sleep_levels(own) == ()


def test_what_the_steps_call_is_a_control_path_unless_it_is_inference() -> None:
    steps = tuple(StepSpec(endpoint=path) for path in ("/doze?deep=1", "/v1/completions", "/tokenize", "http://x/y"))
    asks = (StepSpec(endpoint="/health", method="GET"),)
    own = replace(OWN, engine=EngineKind.COMMAND, command=("serve",), sleep_steps=steps, wake_steps=asks)
    added = set(adapter_for(own).control_paths) - set(adapter_for(replace(own, sleep_steps=())).control_paths)
    assert added == {"/doze"}


@pytest.mark.parametrize(("operation", "limits", "own", "limit"), [
    (Operation.WAKE, TimeoutsSpec(), 0.0, 60.0),
    (Operation.WAKE, TimeoutsSpec(step=7.0), 0.0, 7.0),
    (Operation.WAKE, TimeoutsSpec(step=7.0, sleep=8.0), 0.0, 7.0),
    (Operation.WAKE, TimeoutsSpec(step=7.0, wake=9.0), 0.0, 9.0),
    (Operation.SLEEP, TimeoutsSpec(step=7.0, sleep=8.0), 0.0, 8.0),
    (Operation.SLEEP, TimeoutsSpec(step=7.0, sleep=8.0), 3.0, 3.0),
])  # fmt: skip
def test_e6_the_steps_limit_is_its_own_then_the_operations_then_any_steps(
    operation: Operation, limits: TimeoutsSpec, own: float, limit: float
) -> None:
    step = step_of(StepSpec(endpoint="/x", timeout=own), replace(OWN, timeouts=limits), operation)
    assert step.timeout_s == limit


def test_x2_tries_are_the_steps_own_or_the_models() -> None:
    patient = replace(OWN, step_retries=4, step_retry_delay=2.0)
    assert (made(patient).retries, made(patient).retry_delay_s) == (4, 2.0)
    step = made(patient, retries=0, retry_delay=0.0)
    assert (step.retries, step.retry_delay_s) == (0, 0.0)


def test_every_field_finds_its_place() -> None:
    wait = WaitSpec(endpoint="/v1/models?full=1", status=200, expect=ExpectSpec(at="a.b"), timeout=5.0, interval=0.1)
    step = made(
        endpoint="https://example.org:8443/x?y=%2f",
        method="PUT",
        body={"a": 1},
        headers={"X-One": "1"},
        status=(200, 409),
        expect=ExpectSpec(text="ok", at="s", equals="v", json={"k": 1}),
        condition=ConditionSpec(step=2, status=500, at="e", equals="f", level=2),
        parallel=True,
        health_check_after=True,
        wait_until=wait,
        on_failure="continue",
    )
    assert step == Step(
        path="/x?y=%2f",
        base="https://example.org:8443",
        method="PUT",
        json={"a": 1},
        headers=(("X-One", "1"),),
        expect_status=(200, 409),
        expect=Expect(text="ok", at="s", equals="v", json={"k": 1}),
        condition=Condition(step=2, status=500, at="e", equals="f", level=2),
        group="true",
        health_check_after=True,
        wait_until=WaitUntil(
            path="/v1/models?full=1", status=200, expect=Expect(at="a.b"), timeout_s=5.0, interval_s=0.1
        ),
        on_failure="continue",
    )
    assert step.name == "PUT https://example.org:8443/x?y=%2f"


def test_plain_true_and_a_group_of_that_name_are_two_groups() -> None:
    assert len({made(parallel=value).group for value in (False, True, "true", "b")}) == 4
    assert made().group == ""


def test_an_empty_body_is_none() -> None:
    assert (made(body="").text, made(body="").json, made(body={}).json) == (None, None, {})


@pytest.mark.parametrize(("endpoint", "base", "path"), [
    ("/sleep", None, "/sleep"),
    ("/a%20b/c?x=%2f+&y&y=1", None, "/a%20b/c?x=%2f+&y&y=1"),
    ("http://h/x?y=1", "http://h", "/x?y=1"),
    ("https://h:1", "https://h:1", "/"),
    ("http://[::1]:9/x", "http://[::1]:9", "/x"),
])  # fmt: skip
def test_e1_an_endpoint_is_split_and_no_further(endpoint: str, base: str | None, path: str) -> None:
    assert split_endpoint(endpoint) == (base, path)


@pytest.mark.parametrize(("endpoint", "said"), [
    ("", "required"),
    ("wake_up", "no address"),
    ("/a b", "percent-encoded"),
    ("/a\nb", "percent-encoded"),
    ("/a#b", "never sent"),
    ("ftp://h/x", "no address"),
    ("http:///x", "no address"),
    ("http://h:99999/x", "cannot be read"),
    ("http://[::1/x", "cannot be read"),
    ("http://user:secret@h/x", "Authorization"),
])  # fmt: skip
def test_e11_an_endpoint_that_cannot_be_called_is_a_sentence_with_its_list_and_index(endpoint: str, said: str) -> None:
    broken = replace(OWN, wake_steps=(*WAKE, StepSpec(endpoint=endpoint)))
    with pytest.raises(ValueError, match=r"^wake_steps\[2\]: ") as caught:
        adapter_for(broken).wake(broken, 2)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    asleep = replace(OWN, sleep_steps=(StepSpec(endpoint=endpoint),))
    with pytest.raises(ValueError, match=r"^sleep_steps\[0\]: "):
        adapter_for(asleep).sleep(asleep, 2)


def test_c11_launch_variables_are_filled_in_every_text_of_a_step() -> None:
    step = StepSpec(
        endpoint="http://127.0.0.1:${PORT}/x?m=${MODEL}",
        body={"model": "${MODEL}", "list": ["${PORT}"], "n": 1},
        headers={"X-Model": "${MODEL}"},
        wait_until=WaitSpec(endpoint="/m/${MODEL}"),
    )
    model = filled(replace(OWN, sleep_steps=(step,), wake_steps=(StepSpec(endpoint="/${HOST}"),)), "a", 8001)
    (full,) = model.sleep_steps
    assert full.endpoint == "http://127.0.0.1:8001/x?m=a"
    assert full.body == {"model": "a", "list": ["8001"], "n": 1}
    assert full.headers == {"X-Model": "a"}
    assert full.wait_until is not None
    assert full.wait_until.endpoint == "/m/a"
    assert model.wake_steps[0].endpoint == "/127.0.0.1"
    assert filled(replace(OWN, served_name="s"), "a", 1).wake_steps == WAKE
