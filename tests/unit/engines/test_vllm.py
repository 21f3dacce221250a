"""What roost runs and calls for vLLM, as values."""

from dataclasses import replace

import pytest

from roost.core.errors import StartError
from roost.core.spec import EngineKind, ModelSpec, Task, TimeoutsSpec
from roost.core.step import Expect, Step
from roost.engines.base import Machine
from roost.engines.vllm import VLLM

SPEC = ModelSpec(engine=EngineKind.VLLM, weights="org/m", args=("--max-model-len", "1024"))
GPU = Machine(python="python", programs={"vllm": "/opt/vllm"}, has_gpu=True)
CPU = replace(GPU, has_gpu=False)


def test_command_line_with_sleep_mode_only_where_there_is_a_gpu() -> None:
    launch = VLLM.launch("m", SPEC, 8001, GPU)
    begin = ("/opt/vllm", "serve", "org/m", "--host", "127.0.0.1", "--port", "8001", "--served-model-name", "m")
    assert launch.argv == (*begin, "--enable-sleep-mode", "--max-model-len", "1024")
    assert launch.env == {"VLLM_SERVER_DEV_MODE": "1"}
    assert VLLM.launch("m", SPEC, 8001, CPU).argv == (*begin, "--max-model-len", "1024")


def test_key_goes_by_the_environment_and_never_by_the_command_line() -> None:
    launch = VLLM.launch("m", replace(SPEC, api_key="s3cret"), 8001, GPU)
    assert launch.env["VLLM_API_KEY"] == "s3cret"
    assert not any("s3cret" in word for word in launch.argv)


def test_own_command_takes_the_place_of_ours_and_keeps_development_mode() -> None:
    spec = replace(SPEC, command=("python", "-m", "x", "--port", "${PORT}", "--name=${MODEL}"), args=("--more",))
    launch = VLLM.launch("m", spec, 8001, Machine(python="python"))
    assert launch.argv == ("python", "-m", "x", "--port", "8001", "--name=m", "--more")
    assert launch.env == {"VLLM_SERVER_DEV_MODE": "1"}


def test_program_comes_from_the_venv_or_is_missed_by_name() -> None:
    assert VLLM.launch("m", replace(SPEC, venv="/opt/v"), 1, Machine(python="python")).argv[0] == "vllm"
    with pytest.raises(StartError, match=r"'m' needs the program vllm.*venv:"):
        VLLM.launch("m", SPEC, 1, Machine(python="python"))


def test_sleep_waits_for_what_runs_and_names_its_level_in_the_query() -> None:
    spec = replace(SPEC, timeouts=TimeoutsSpec(step=7.0))
    expected = Step(path="/sleep", query=(("level", "2"), ("mode", "wait")), timeout_s=7.0)
    assert VLLM.sleep(spec, 2) == (expected,)


def test_sleep_has_its_own_mode_and_time() -> None:
    spec = replace(SPEC, sleep_mode="abort", timeouts=TimeoutsSpec(step=7.0, sleep=30.0))
    expected = Step(path="/sleep", query=(("level", "1"), ("mode", "abort")), timeout_s=30.0)
    assert VLLM.sleep(spec, 1) == (expected,)
    assert {step.timeout_s for step in VLLM.wake(spec, None)} == {7.0}


@pytest.mark.parametrize(
    ("level", "names"),
    [
        (1, ["POST /wake_up"]),
        (
            2,
            [
                "POST /wake_up?tags=weights",
                "POST /collective_rpc",
                "POST /wake_up?tags=kv_cache",
                "POST /reset_prefix_cache",
            ],
        ),
        (
            None,
            [
                "POST /wake_up?tags=weights",
                "POST /collective_rpc",
                "POST /wake_up?tags=kv_cache",
                "POST /wake_up",
                "POST /reset_prefix_cache",
            ],
        ),
    ],
)
def test_wake_gets_the_weights_back_before_the_scheduler_runs(level: int | None, names: list[str]) -> None:
    steps = VLLM.wake(SPEC, level)
    assert [step.name for step in steps] == names
    assert all(step.json == {"method": "reload_weights"} for step in steps if step.path == "/collective_rpc")


@pytest.mark.parametrize(
    ("status", "body", "asleep"),
    [
        (200, {"is_sleeping": True}, True),
        (200, {"is_sleeping": False}, False),
        (200, {"is_sleeping": "yes"}, None),
        (200, ["is_sleeping"], None),
        (404, {"detail": "Not Found"}, None),
        (500, {"is_sleeping": True}, None),
    ],
)
def test_only_a_clear_word_counts(status: int, body: object, asleep: bool | None) -> None:
    assert VLLM.is_asleep(status, body) is asleep


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (Task.GENERATE, "POST /v1/completions"),
        (Task.EMBED, "POST /v1/embeddings"),
        (Task.RERANK, "POST /v1/rerank"),
        (Task.OTHER, "GET /health"),
    ],
)
def test_verifying_request_fits_the_task(task: Task, name: str) -> None:
    step = VLLM.verify(replace(SPEC, task=task), "served")
    assert step.name == name
    assert step.json is None or step.json["model"] == "served"


def test_no_path_is_both_inference_and_control() -> None:
    assert not set(VLLM.inference_paths) & set(VLLM.control_paths)
    assert {"/sleep", "/wake_up", "/collective_rpc", "/v1/load_lora_adapter"} <= set(VLLM.control_paths)


def test_weights_are_needed_unless_it_runs_already() -> None:
    assert [problem.path for problem in VLLM.validate("m", ModelSpec())] == [("models", "m")]
    assert not VLLM.validate("m", ModelSpec(url="http://127.0.0.1:1"))


def test_a_pause_is_lifted_by_a_plain_wake() -> None:
    assert [step.name for step in VLLM.wake(SPEC, 0)] == ["POST /wake_up"]


@pytest.mark.parametrize("level", [0, 1, 2, None])
def test_resume_is_never_sent(level: int | None) -> None:
    """Asleep it would let requests run on memory that is gone."""
    assert "/resume" not in [step.path for step in (*VLLM.sleep(SPEC, 1), *VLLM.wake(SPEC, level))]


def test_wake_has_a_time_of_its_own_and_success_is_read_from_the_bodies() -> None:
    spec = replace(SPEC, timeouts=TimeoutsSpec(step=7.0, wake=90.0))
    _, reload, _, reset = VLLM.wake(spec, 2)
    assert {step.timeout_s for step in VLLM.wake(spec, None)} == {90.0}
    assert reload.expect == Expect(at="results")
    assert reset.expect == Expect(at="success", equals=True, optional=True)  # older releases answer nothing


def _config(*, on: bool, device: str) -> tuple[int, object]:
    told = {"model_config": {"enable_sleep_mode": on}, "device_config": {"device_type": device}}
    return 200, {"vllm_config": told}


AWAKE = (200, {"is_sleeping": False})
FOREIGN = ModelSpec(engine=EngineKind.VLLM, url="http://127.0.0.1:1")


def test_development_endpoints_that_are_off_are_told_with_the_fix() -> None:
    (notice,) = VLLM.notices(FOREIGN, CPU, [(404, None), (404, None)])
    assert notice.no_sleep
    assert "VLLM_SERVER_DEV_MODE=1" in notice.text
    (own,) = VLLM.notices(replace(SPEC, command=("docker", "run")), CPU, [(404, None)])
    assert "must hand it on" in own.text
    assert VLLM.notices(SPEC, CPU, [None]) == []


@pytest.mark.parametrize(
    ("command", "args", "warned"),
    [
        (("vllm", "serve"), (), True),
        ("vllm serve m", (), True),
        (("vllm", "serve"), ("--enable-sleep-mode",), False),
        (("bash", "-c", "vllm serve m --enable_sleep_mode"), (), False),
        (("vllm", "serve", "--no-enable-sleep-mode"), (), True),
        (("vllm", "serve", "--config", "c.yaml"), (), False),
    ],
)
def test_sleep_mode_missing_from_an_own_command_is_told_on_a_gpu(
    command: str | tuple[str, ...], args: tuple[str, ...], warned: bool
) -> None:
    spec = replace(SPEC, command=command, args=args)
    found = VLLM.notices(spec, GPU, [AWAKE])
    assert ["--enable-sleep-mode" in notice.text for notice in found] == [True] * warned
    assert not any(notice.no_sleep for notice in found)
    assert VLLM.notices(spec, CPU, [AWAKE]) == []


@pytest.mark.parametrize(
    ("answer", "warned"),
    [
        (_config(on=False, device="cuda"), True),
        (_config(on=True, device="cuda"), False),
        (_config(on=False, device="cpu"), False),
        ((404, None), False),
        ((200, ["nonsense"]), False),
        (None, False),
    ],
)
def test_an_engine_elsewhere_is_asked_for_its_sleep_mode(answer: tuple[int, object] | None, warned: bool) -> None:
    assert [step.name for step in VLLM.signs(FOREIGN).once][1] == "GET /server_info?config_format=json"
    assert len(VLLM.signs(SPEC).once) == 1
    assert bool(VLLM.notices(FOREIGN, CPU, [AWAKE, answer])) is warned
