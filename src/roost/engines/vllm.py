"""vLLM as values: command line, probe, and the calls that put it to sleep and wake it.

Never calls anything itself. Facts: `/health` is 200 asleep too, parameters go in the query, `/sleep` on a sleeping
engine does nothing, and level 2 must get its weights back before the scheduler runs again: hence the staged wake.
Collected by `registry`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roost.core.errors import StartError
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Probe, Step
from roost.engines.base import Launch, Machine
from roost.engines.common import launch_problems, openai_verify, own_args, own_command

_ALL_LEVELS = (1, 2)


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
        if spec.api_key:
            env["VLLM_API_KEY"] = spec.api_key  # not as an argument: every user of the machine can read those
        if spec.command is not None:
            return Launch(argv=own_command(name, spec, port), env=env)
        argv = [_program(name, spec, machine), "serve", spec.weights or ""]
        argv += ["--host", spec.host, "--port", str(port), "--served-model-name", spec.served_name or name]
        if machine.has_gpu:  # refused at start on a CPU
            argv.append("--enable-sleep-mode")
        return Launch(argv=(*argv, *own_args(name, spec, port)), env=env)

    def probe(self, spec: ModelSpec) -> Probe:
        return Probe(path=spec.health_path or "/health")

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        return _ALL_LEVELS

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        """Requests that came past roost end first with mode `wait`, which vLLM itself does not bound, and are cut
        with `abort`, its default."""
        query = (("level", str(level)), ("mode", spec.sleep_mode))
        return (Step(path="/sleep", query=query, timeout_s=spec.timeouts.sleep or spec.timeouts.step),)

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """Level unknown (someone else's sleep, or a pause): as from level 2, and a plain wake lifts the pause."""
        timeout_s = spec.timeouts.step
        plain = Step(path="/wake_up", timeout_s=timeout_s)
        if level == 1:
            return (plain,)
        return (
            Step(path="/wake_up", query=(("tags", "weights"),), timeout_s=timeout_s),
            Step(path="/collective_rpc", json={"method": "reload_weights"}, timeout_s=timeout_s),
            Step(path="/wake_up", query=(("tags", "kv_cache"),), timeout_s=timeout_s),
            *(() if level == 2 else (plain,)),
            Step(path="/reset_prefix_cache", timeout_s=timeout_s),
        )

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return Step(method="GET", path="/is_sleeping", timeout_s=2.0)

    def is_asleep(self, status: int, body: object) -> bool | None:
        """None where the development endpoints are off (404)."""
        if status != 200 or not isinstance(body, dict):
            return None
        asleep = body.get("is_sleeping")
        return asleep if isinstance(asleep, bool) else None

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        return openai_verify(spec, served_name)


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
