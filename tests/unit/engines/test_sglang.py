"""What roost runs and calls for SGLang, as values."""

from dataclasses import replace

import pytest

from roost.core.errors import StartError
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.engines.base import Machine
from roost.engines.sglang import SGLANG

SPEC = ModelSpec(engine=EngineKind.SGLANG, weights="/w", args=("--tp", "2"))
GPU = Machine(python="/py", modules=frozenset({"sglang"}), has_gpu=True)


def test_command_line_frees_memory_only_where_there_is_a_gpu() -> None:
    launch = SGLANG.launch("m", SPEC, 8001, GPU)
    begin = ("/py", "-m", "sglang.launch_server", "--model-path", "/w", "--host", "127.0.0.1", "--port", "8001")
    named = (*begin, "--served-model-name", "m")
    assert launch.argv == (*named, "--enable-memory-saver", "--enable-weights-cpu-backup", "--tp", "2")
    assert launch.env == {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0"}
    assert SGLANG.launch("m", replace(SPEC, sleep_level=2), 8001, GPU).argv == (
        *named,
        "--enable-memory-saver",
        "--tp",
        "2",
    )
    assert SGLANG.launch("m", SPEC, 8001, replace(GPU, has_gpu=False)).argv == (*named, "--tp", "2")


def test_package_comes_from_the_venv_or_is_missed_by_name() -> None:
    assert SGLANG.launch("m", replace(SPEC, venv="/v"), 1, Machine(python="/py")).argv[0] == "python"
    with pytest.raises(StartError, match=r"'m' needs the Python package sglang.*/py"):
        SGLANG.launch("m", SPEC, 1, Machine(python="/py"))


def test_generation_is_paused_before_memory_goes_and_resumed_after_it_is_back() -> None:
    assert [(step.path, step.json) for step in SGLANG.sleep(SPEC, 1)] == [
        ("/pause_generation", {"mode": "abort"}),
        ("/release_memory_occupation", {}),
    ]
    assert [(step.path, step.json) for step in SGLANG.wake(SPEC, 1)] == [
        ("/resume_memory_occupation", {}),
        ("/continue_generation", {}),
    ]


@pytest.mark.parametrize(
    ("times", "seconds"), [(TimeoutsSpec(step=7.0), 7.0), (TimeoutsSpec(step=7.0, sleep=30.0), 30.0)]
)
def test_it_is_always_cut_off_and_sleep_has_its_own_time(times: TimeoutsSpec, seconds: float) -> None:
    """Of its modes only `abort` leaves no request inside, and with one the release would kill it."""
    spec = replace(SPEC, sleep_mode="wait", timeouts=times)
    pause, release = SGLANG.sleep(spec, 1)
    assert pause.json == {"mode": "abort"}
    assert (pause.timeout_s, release.timeout_s) == (seconds, seconds)
    assert {step.timeout_s for step in SGLANG.wake(spec, 1)} == {7.0}


def test_level_2_reads_its_weights_again_before_it_goes_on() -> None:
    assert [(step.path, step.json) for step in SGLANG.wake(SPEC, 2)] == [
        ("/resume_memory_occupation", {}),
        ("/update_weights_from_disk", {"model_path": "/w"}),
        ("/flush_cache", None),
        ("/continue_generation", {}),
    ]


@pytest.mark.parametrize("level", [1, 2])
def test_level_is_the_one_it_was_started_for(level: int) -> None:
    spec = replace(SPEC, sleep_level=1 if level == 1 else 2)
    assert SGLANG.sleep_levels(spec) == (level,)


def test_it_cannot_be_asked_whether_it_sleeps() -> None:
    assert SGLANG.sleep_query(SPEC) is None
    assert SGLANG.is_asleep(200, {"is_sleeping": True}) is None


def test_probe_is_health_unless_the_config_knows_better() -> None:
    assert SGLANG.probe(SPEC).path == "/health"
    assert SGLANG.probe(replace(SPEC, health_path="/ready")).path == "/ready"


def test_level_2_needs_to_know_where_the_weights_are() -> None:
    spec = ModelSpec(url="http://127.0.0.1:1", sleep_level=2)
    assert [problem.path for problem in SGLANG.validate("m", spec)] == [("models", "m", "sleep_level")]
    assert not SGLANG.validate("m", SPEC)
