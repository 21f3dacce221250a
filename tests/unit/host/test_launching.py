"""What an engine is started with, and what of it may be seen."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from roost.core.errors import StartError
from roost.core.spec import EngineKind, ModelSpec
from roost.host.launching import check_files, fingerprint, start_of
from tests.support.stage import VLLM, Stage
from tests.support.virtual import run

T = TypeVar("T")


def of(folder: Path, spec: ModelSpec, look: Callable[[Stage], T]) -> T:
    async def main() -> T:
        return look(Stage(folder, spec))

    return run(main())


def test_venv_comes_first_and_values_are_filled_in(tmp_path: Path) -> None:
    spec = replace(VLLM, venv="/opt/v", env={"WHERE": "${PORT}/${MODEL}", "PATH": "/mine"}, cwd="/tmp")
    start = of(tmp_path, spec, lambda stage: start_of(stage.replica))
    assert start.env["PATH"] == f"/opt/v/bin{os.pathsep}/mine"
    assert start.env["VIRTUAL_ENV"] == "/opt/v"
    assert start.env["WHERE"] == "9/a"
    assert start.cwd == "/tmp"


def test_no_key_is_ever_in_the_log_header(tmp_path: Path) -> None:
    spec = ModelSpec(
        engine=EngineKind.COMMAND,
        command=("srv", "${PORT}", "--auth=Bearer s3cret", "--hf-token", "hunter2"),
        env={"SECRET": "env-value"},
        api_key="s3cret",
    )
    header = of(tmp_path, spec, lambda stage: start_of(stage.replica).header)
    assert "srv 9" in header
    assert not any(word in header for word in ("s3cret", "hunter2", "env-value"))


def test_fingerprint_is_of_the_config_and_not_of_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(VLLM, venv="/opt/v")
    here = of(tmp_path, spec, lambda stage: fingerprint(start_of(stage.replica)))
    monkeypatch.setenv("PATH", "/other")
    assert of(tmp_path, spec, lambda stage: fingerprint(start_of(stage.replica))) == here
    for other in (replace(spec, args=("x",)), replace(spec, env={"A": "1"}), replace(spec, cwd="/tmp")):
        assert of(tmp_path, other, lambda stage: fingerprint(start_of(stage.replica))) != here


def test_local_weights_must_be_there_and_others_are_the_engines_business(tmp_path: Path) -> None:
    there = tmp_path / "w.gguf"
    there.touch()
    fine = ("org/model", str(there))
    for weights in fine:
        of(tmp_path, replace(VLLM, weights=weights), lambda stage: check_files(stage.replica))
    missing = replace(VLLM, weights=f"{there}.not")
    with pytest.raises(StartError, match=r"'a' are not at .*\.not"):
        of(tmp_path, missing, lambda stage: check_files(stage.replica))
    simulated = replace(missing, engine=EngineKind.SIMULATED)
    of(tmp_path, simulated, lambda stage: check_files(stage.replica))


def test_a_venv_that_is_not_there_is_told_and_no_other_python_runs(tmp_path: Path) -> None:
    (tmp_path / "v" / "bin").mkdir(parents=True)
    of(tmp_path, replace(VLLM, venv=str(tmp_path / "v")), lambda stage: check_files(stage.replica))
    with pytest.raises(StartError, match=r"venv of 'a' is not at .*/none"):
        of(tmp_path, replace(VLLM, venv=str(tmp_path / "none")), lambda stage: check_files(stage.replica))


def test_an_engine_sees_the_devices_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def seen(spec: ModelSpec, *devices: str) -> dict[str, str]:
        def look(stage: Stage) -> dict[str, str]:
            stage.replica.devices = devices
            env = start_of(stage.replica).env
            return {name: value for name, value in env.items() if name.startswith("CUDA")}

        return of(tmp_path, spec, look)

    assert seen(VLLM, "gpu1", "gpu3") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,3"}
    assert seen(VLLM) == {}
    own = replace(VLLM, env={"CUDA_VISIBLE_DEVICES": "7"})
    assert seen(own, "gpu1") == {"CUDA_VISIBLE_DEVICES": "7"}
    assert seen(replace(VLLM, env={"HIP_VISIBLE_DEVICES": "7"}), "gpu1") == {}
