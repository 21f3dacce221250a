"""vLLM as values: command line, probe, the calls that put it to sleep and wake it, and what tells how it is.

Never calls anything itself. Facts: `/health` is 200 asleep too, parameters go in the query, `/sleep` on a sleeping
engine does nothing, `/resume` on one lets requests run on memory that is gone (so it is never sent), and level 2 must
get its weights back before the scheduler runs again: hence the staged wake. Collected by `registry`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roost.core.errors import StartError
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Expect, Probe, Step
from roost.engines.base import Launch, Machine, Notice, Signs, StateGauge
from roost.engines.common import launch_problems, lora_flags, openai_verify, own_args, own_command

_ALL_LEVELS = (1, 2)
_QUERY_S = 2.0
_CONFIG_S = 10.0
"""`/server_info` reads the packages of the machine the first time: 1.6 s were seen."""
_SLEEP_MODE = re.compile(r"(?<!no.)enable[-_]sleep[-_]mode|--config\b")
"""In a command line that may have sleep mode; `--config` names a file that may."""
SLEEP_GAUGE = StateGauge(
    path="/metrics",
    name="vllm:engine_sleep_state",
    label="sleep_state",
    levels=(("awake", 0), ("weights_offloaded", 1), ("discard_all", 2)),
)


@dataclass(frozen=True, slots=True)
class Vllm:
    """The adapter; one value, `VLLM`."""

    kind: EngineKind = EngineKind.VLLM
    inference_paths: Sequence[str] = (
        "/tokenize",
        "/detokenize",
        "/pooling",
        "/classify",
        "/score",
        "/rerank",
        "/v2/rerank",
        "/generative_scoring",
        "/inference/v1/generate",
        "/invocations",
    )
    control_paths: Sequence[str] = (
        "/sleep",
        "/wake_up",
        "/is_sleeping",
        "/pause",
        "/resume",
        "/is_paused",
        "/abort_requests",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/reset_mm_cache",
        "/reset_encoder_cache",
        "/release_kv_cache_memory",
        "/server_info",
        "/scale_elastic_ep",
        "/is_scaling_elastic_ep",
        "/start_profile",
        "/stop_profile",
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/update_weight_version",
        "/weight_info",
        "/weight_checker",
        "/get_world_size",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
    )

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        return launch_problems(name, spec, "vllm")

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        env = {"VLLM_SERVER_DEV_MODE": "1"}
        if spec.adapters:
            env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if spec.api_key:
            env["VLLM_API_KEY"] = spec.api_key  # not as an argument: every user of the machine can read those
        if spec.command is not None:
            return Launch(argv=own_command(name, spec, port), env=env)
        argv = [_program(name, spec, machine), "serve", spec.weights or ""]
        argv += ["--host", spec.host, "--port", str(port), "--served-model-name", spec.served_name or name]
        if machine.has_gpu:  # refused at start on a CPU
            argv.append("--enable-sleep-mode")
        argv += lora_flags(spec)
        return Launch(argv=(*argv, *own_args(name, spec, port)), env=env)

    def probe(self, spec: ModelSpec) -> Probe:
        return Probe(path=spec.health_path or "/health")

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        return _ALL_LEVELS

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        """Requests that came past roost end first with mode `wait`, and are cut with `abort`, its default. vLLM itself
        does not bound the waiting: the step's time limit does, and a sleep that runs into it has failed. Releases
        without modes pass over the parameter."""
        query = (("level", str(level)), ("mode", spec.sleep_mode))
        return (Step(path="/sleep", query=query, timeout_s=spec.timeouts.sleep or spec.timeouts.step),)

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """Level 0 is a pause, which a plain wake lifts. Level unknown (someone else's sleep): as from level 2, and a
        plain wake lifts whatever pause there was."""
        timeout_s = spec.timeouts.wake or spec.timeouts.step
        plain = Step(path="/wake_up", timeout_s=timeout_s)
        if level in (0, 1):
            return (plain,)
        return (
            Step(path="/wake_up", query=(("tags", "weights"),), timeout_s=timeout_s),
            Step(
                path="/collective_rpc",
                json={"method": "reload_weights"},
                timeout_s=timeout_s,
                expect=Expect(at="results"),
            ),
            Step(path="/wake_up", query=(("tags", "kv_cache"),), timeout_s=timeout_s),
            *(() if level == 2 else (plain,)),
            Step(
                path="/reset_prefix_cache",
                timeout_s=timeout_s,
                expect=Expect(at="success", equals=True, optional=True),
            ),
        )

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return Step(method="GET", path="/is_sleeping", timeout_s=_QUERY_S)

    def is_asleep(self, status: int, body: object) -> bool | None:
        """None where the development endpoints are off (404)."""
        if status != 200 or not isinstance(body, dict):
            return None
        asleep = body.get("is_sleeping")
        return asleep if isinstance(asleep, bool) else None

    def signs(self, spec: ModelSpec) -> Signs:
        """The whole configuration is asked of an engine that runs elsewhere only: the other's command line is known."""
        sleeping = Step(method="GET", path="/is_sleeping", timeout_s=_QUERY_S)
        config = Step(method="GET", path="/server_info", query=(("config_format", "json"),), timeout_s=_CONFIG_S)
        return Signs(
            paused=Step(method="GET", path="/is_paused", timeout_s=_QUERY_S),
            gauge=SLEEP_GAUGE,
            once=(sleeping, config) if spec.url is not None else (sleeping,),
        )

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        """Development endpoints that are off, and sleep mode that is off on a GPU (on a CPU the flag is refused)."""
        found: list[Notice] = []
        sleeping, *config = answers
        if sleeping is not None and sleeping[0] == 404:
            found.append(Notice(text=_no_endpoints(spec), no_sleep=True))
        if _lacks_sleep_mode(spec, machine) or any(_is_off(answer) for answer in config):
            found.append(
                Notice(
                    text="vLLM runs without --enable-sleep-mode: a sleep answers well and frees next to nothing. "
                    "Add --enable-sleep-mode to its command line."
                )
            )
        return found

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        return openai_verify(spec, served_name)


def _no_endpoints(spec: ModelSpec) -> str:
    if spec.url is not None:
        fix = "Start it with VLLM_SERVER_DEV_MODE=1 in its environment."
    else:
        fix = "roost sets VLLM_SERVER_DEV_MODE=1 for its `command`, which must hand it on (docker: -e)."
    return f"vLLM's development endpoints are off (GET /is_sleeping answered 404), so it cannot be put to sleep. {fix}"


def _lacks_sleep_mode(spec: ModelSpec, machine: Machine) -> bool:
    """Of the user's own command; roost's own command line has the flag."""
    if spec.command is None or spec.url is not None or not machine.has_gpu:
        return False
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    return not any(_SLEEP_MODE.search(word) for word in (*words, *spec.args))


def _is_off(answer: tuple[int, object] | None) -> bool:
    """Whether `/server_info` says that sleep mode is off on another device than a CPU."""
    config = _at(answer[1] if answer is not None and answer[0] == 200 else None, "vllm_config")
    device = str(_at(config, "device_config", "device_type") or _at(config, "device_config", "device") or "")
    return _at(config, "model_config", "enable_sleep_mode") is False and not device.startswith("cpu")


def _at(body: object, *keys: str) -> object:
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _program(name: str, spec: ModelSpec, machine: Machine) -> str:
    if spec.venv:
        return "vllm"  # found on the PATH that begins with the venv's programs
    found = machine.programs.get("vllm")
    if found is None:
        raise StartError(
            f"Model {name!r} needs the program vllm, which is not on the PATH. Install it (pip install vllm), "
            f"name the environment that has it (venv: /path/to/venv), or give the whole command line (command: ...)."
        )
    return found


VLLM = Vllm()
