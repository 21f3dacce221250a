"""What models will hold before any of them has run, and what is said where nobody knows."""

from pathlib import Path

import pytest

from roost.core.footprint import Source
from roost.core.memory_spec import MemorySpec
from roost.core.spec import EngineKind, ModelSpec, RoostSpec
from roost.host import claims

GIB = 1 << 30
MODELS = {
    "vllm": ModelSpec(engine=EngineKind.VLLM, weights="org/x", args=("--gpu-memory-utilization", "0.5")),
    "own": ModelSpec(engine=EngineKind.COMMAND, command=("serve-it",)),
    "told": ModelSpec(engine=EngineKind.COMMAND, command=("serve-it",), footprint=3 * GIB),
    "elsewhere": ModelSpec(engine=EngineKind.COMMAND, url="http://h:1"),
}
BUDGETS = MemorySpec(devices={"gpu0": 80 * GIB, "gpu1": 40 * GIB})


def test_claims_are_those_of_the_config_and_of_arguments() -> None:
    found = claims.claims(RoostSpec(models=MODELS, memory=BUDGETS))
    assert {name: one.awake.device for name, one in found.items() if one.awake.source is not Source.UNKNOWN} == {
        "vllm": 20 * GIB,
        "told": 3 * GIB,
    }


def test_with_claims_they_are_written_and_what_is_unknown_is_not() -> None:
    models = claims.with_claims(RoostSpec(models=MODELS, memory=BUDGETS)).models
    assert models["vllm"].footprints.awake.device == 20 * GIB
    assert models["own"].footprints.awake.device is None


def test_a_budget_to_which_nothing_is_held_is_told() -> None:
    said = [one.render("f") for one in claims.validate(RoostSpec(models=MODELS, memory=BUDGETS))]
    assert said == [
        "f: warning: models.own: what it holds of a device is not known: it counts nothing against the budgets until "
        "measured. Set footprint."
    ]
    assert not claims.validate(RoostSpec(models=MODELS))
    assert not claims.validate(RoostSpec(models=MODELS, memory=MemorySpec(max_resident=1)))


def test_to_discover_where_there_is_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("roost.host.claims.read_gpus", lambda pids, env: ([], "there is no driver"))
    (said,) = claims.validate(RoostSpec(models=MODELS, memory=MemorySpec(discover=True)))
    assert said.render("f") == (
        "f: warning: memory.discover: finds no GPU on this machine: there is no driver. Write the devices of another "
        "machine under memory.devices; here nothing is bound on one."
    )
