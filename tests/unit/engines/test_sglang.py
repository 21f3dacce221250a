"""What roost runs and calls for SGLang, as values."""

from dataclasses import replace

import pytest

from roost.core.errors import StartError
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.core.step import Expect
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
        ("/flush_cache", None),
        ("/release_memory_occupation", {}),
    ]
    assert [(step.path, step.json) for step in SGLANG.wake(SPEC, 1)] == [
        ("/resume_memory_occupation", {}),
        ("/flush_cache", None),
        ("/continue_generation", {}),
    ]


def test_the_release_waits_until_nothing_runs_any_more() -> None:
    """The flush is refused while anything runs; a release then would end the server."""
    flush = SGLANG.sleep(SPEC, 1)[1]
    assert (flush.path, flush.on_failure) == ("/flush_cache", "fail")
    assert flush.retries > 0


@pytest.mark.parametrize(
    ("times", "seconds"), [(TimeoutsSpec(step=7.0), 7.0), (TimeoutsSpec(step=7.0, sleep=30.0), 30.0)]
)
def test_it_is_always_cut_off_and_sleep_has_its_own_time(times: TimeoutsSpec, seconds: float) -> None:
    """Of its modes only `abort` leaves no request inside, and with one the release would kill it."""
    spec = replace(SPEC, sleep_mode="wait", timeouts=times)
    steps = SGLANG.sleep(spec, 1)
    assert steps[0].json == {"mode": "abort"}
    assert {step.timeout_s for step in steps} == {seconds}
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


def test_probe_is_ready_then_health_unless_the_config_knows_better() -> None:
    probe = SGLANG.probe(SPEC)
    assert (probe.path, probe.otherwise) == ("/ready", "/health")
    own = SGLANG.probe(replace(SPEC, health_path="/alive"))
    assert (own.path, own.otherwise) == ("/alive", None)


@pytest.mark.parametrize(
    ("spec", "read_again"),
    [
        (SPEC, False),
        (replace(SPEC, command=("sglang", "--enable-weights-cpu-backup")), False),
        (replace(SPEC, command="run.sh", args=("--enable-weights-cpu-backup",)), False),
        (replace(SPEC, command=("sglang", "serve")), True),
        (replace(SPEC, url="http://127.0.0.1:1"), True),
        (replace(SPEC, url="http://127.0.0.1:1", weights=None), False),
    ],
)
def test_at_level_1_weights_are_read_again_unless_they_have_a_copy(spec: ModelSpec, read_again: bool) -> None:
    assert ("/update_weights_from_disk" in [step.path for step in SGLANG.wake(spec, 1)]) is read_again


def test_a_reload_that_its_body_says_failed_is_a_failed_step() -> None:
    (reload,) = (step for step in SGLANG.wake(SPEC, 2) if step.path == "/update_weights_from_disk")
    assert reload.expect == Expect(at="success", equals=True)


def test_weights_that_would_be_lost_are_warned_of_where_the_command_line_is_known() -> None:
    spec = ModelSpec(engine=EngineKind.SGLANG, command=("sglang", "serve", "m"))
    (problem,) = SGLANG.validate("m", spec)
    assert (problem.severity, problem.path) == ("warning", ("models", "m", "sleep_level"))
    assert not SGLANG.validate("m", replace(spec, args=("--enable-weights-cpu-backup",)))


@pytest.mark.parametrize(
    ("flags", "said", "no_sleep"),
    [
        ({"enable_memory_saver": False}, "without --enable-memory-saver", False),
        ({"enable_memory_saver": False, "device": "cpu"}, "", False),
        ({"enable_memory_saver": True, "enable_weights_cpu_backup": False}, "it would answer garbage", True),
        ({"enable_memory_saver": True, "enable_weights_cpu_backup": True}, "", False),
        ("nonsense", "", False),
    ],
)
def test_flags_that_a_sleep_needs_are_asked_of_what_roost_did_not_start(
    flags: object, said: str, no_sleep: bool
) -> None:
    spec = ModelSpec(engine=EngineKind.SGLANG, url="http://127.0.0.1:1")
    assert [step.path for step in SGLANG.signs(spec).once] == ["/server_info"]
    found = SGLANG.notices(spec, GPU, [(200, flags)])
    assert [said in notice.text for notice in found] == [True] * bool(said)
    assert any(notice.no_sleep for notice in found) is no_sleep
    assert SGLANG.signs(SPEC).once == ()
    assert SGLANG.notices(SPEC, GPU, []) == []


def test_level_2_needs_to_know_where_the_weights_are() -> None:
    spec = ModelSpec(url="http://127.0.0.1:1", sleep_level=2)
    assert [problem.path for problem in SGLANG.validate("m", spec)] == [("models", "m", "sleep_level")]
    assert not SGLANG.validate("m", SPEC)
