"""`roost up --simulate`: examples with steps of their own go to sleep and wake, whatever their engines really are."""

from pathlib import Path

import pytest

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import running_roost

EXAMPLES = Path(__file__).parents[2] / "examples"
WITH_STEPS = ("llama-server-router.yaml", "sleep-level1.yaml", "sleep-level2.yaml", "sleep-timeouts.yaml")

SIDECAR = """
models:
  a:
    engine: vllm
    weights: org/a
    sleep_level: 2
    sleep_steps:
      - {endpoint: "http://sidecar:9/sleep", status: [202]}
      - {endpoint: /sleep, if: {step: 1, status: 200}}
    wake_steps:
      - {endpoint: "http://${HOST}:${PORT}/give%20back?a=1", method: PUT, expect: {at: state, equals: ok}}
      - {endpoint: /warm, if: {step: 1, status: 200}}
      - {endpoint: /cold, if: {step: 1, status: 409}}
"""


@pytest.mark.parametrize("name", WITH_STEPS)
@live
async def test_an_example_with_steps_sleeps_and_wakes(name: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text()
    async with running_roost(text, tmp_path, simulated=True) as roost:
        with_steps = [one for one in roost.app.replicas if one.spec.sleep_steps]
        for owner in with_steps:
            assert (await roost.chat(owner.model)).status_code == 200
            pid = owner.keeper.pid
            slept = await roost.client.post(f"/api/v1/models/{owner.model}/sleep", json={"wait": 20})
            assert (slept.status_code, owner.state, owner.level) == (200, State.ASLEEP, owner.spec.sleep_level)
            assert (await roost.chat(owner.model)).status_code == 200
            assert (owner.keeper.pid, owner.last_error) == (pid, "")


@live
async def test_calls_elsewhere_stay_here_and_conditions_look_at_the_step_they_name(tmp_path: Path) -> None:
    async with running_roost(SIDECAR, tmp_path, simulated=True) as roost:
        (owner,) = roost.app.replicas
        assert (await roost.chat("a")).status_code == 200
        slept = await roost.client.post("/api/v1/models/a/sleep", json={"wait": 20})
        assert slept.status_code == 200, slept.text
        assert (await roost.chat("a")).status_code == 200
        sleep, wake = list(owner.sequences)[-2:]
        assert [step.name for step in sleep.steps][:3] == [
            "POST /elsewhere/sidecar/sleep",
            "POST /own/sleep",
            "POST /sleep?level=2&mode=wait",
        ]
        told = [(step.name, step.status) for step in wake.steps[4:7]]
        assert told == [("PUT /give%20back?a=1", 200), ("POST /warm", 200), ("POST /cold", None)]


HOSTED = """
hosts:
  h: {url: "http://gpu.invalid:8000", max_resident: 1}
models:
  a: {inside: h}
  b: {inside: h}
  c: {engine: vllm, weights: org/c}
policy: {turn: 0s}
"""


@live
async def test_models_of_one_server_share_its_places(tmp_path: Path) -> None:
    async with running_roost(HOSTED, tmp_path, simulated=True) as roost:
        for name in ("a", "c", "b"):
            assert (await roost.chat(name)).status_code == 200
        assert {roost.state("b"), roost.state("c")} == {State.READY}
        assert roost.state("a") in (State.ASLEEP, State.COLD)
