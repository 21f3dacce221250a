"""SGLang as values: command line, probe, and the calls that release and resume its memory.

Never calls anything itself. Facts: bodies are JSON and must be there; releasing while a request runs, and resuming
what was not released, kill the server; it cannot be asked whether it sleeps, so roost's own memory is all there is.
Reading the weights again makes it call itself by their path in `/v1/models`; requests are served under any name, so
nothing is rewritten for it. Collected by `registry`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roost.core.errors import StartError
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Expect, Probe, Step
from roost.engines.base import Launch, Machine, Notice, Signs
from roost.engines.common import launch_problems, openai_verify, own_args, own_command

_FLUSH_TRIES = 4
"""What a pause aborts may take a moment to leave the scheduler."""
_PROBE_S = 5.0
_BACKUP, _SAVER = "enable-weights-cpu-backup", "enable-memory-saver"


@dataclass(frozen=True, slots=True)
class Sglang:
    """The adapter; one value, `SGLANG`."""

    kind: EngineKind = EngineKind.SGLANG
    inference_paths: Sequence[str] = (
        "/generate",
        "/encode",
        "/classify",
        "/score",
        "/tokenize",
        "/detokenize",
        "/api/chat",
        "/api/generate",
        "/invocations",
    )
    control_paths: Sequence[str] = (
        "/pause_generation",
        "/continue_generation",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/update_weights_from_disk",
        "/update_weights_from_tensor",
        "/update_weights_from_distributed",
        "/update_weights_from_ipc",
        "/init_weights_update_group",
        "/destroy_weights_update_group",
        "/update_weight_version",
        "/get_weights_by_name",
        "/weights_checker",
        "/flush_cache",
        "/clear_hicache_storage_backend",
        "/abort_request",
        "/set_internal_state",
        "/server_info",
        "/get_server_info",
        "/configure_logging",
        "/freeze_gc",
        "/slow_down",
        "/start_profile",
        "/stop_profile",
        "/open_session",
        "/close_session",
        "/load_lora_adapter",
        "/unload_lora_adapter",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
    )

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        found = list(launch_problems(name, spec, "sglang"))
        if spec.sleep_level == 1 and spec.url is None and spec.weights is None and not _backed_up(spec):
            found.append(_lost_weights(name))
        if spec.sleep_level == 2 and spec.weights is None:
            found.append(
                Problem(
                    path=("models", name, "sleep_level"),
                    message="SGLang at sleep level 2 loads its weights again from disk, so it needs their place",
                    value="2",
                    hint="Write `weights: FOLDER` as the engine sees it, or `sleep_level: 1`",
                )
            )
        return found

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        # Its own /health generates a token, which touches memory that may be released.
        env = {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0"}
        if spec.command is not None:
            return Launch(argv=own_command(name, spec, port), env=env)
        argv = [_python(name, spec, machine), "-m", "sglang.launch_server", "--model-path", spec.weights or ""]
        argv += ["--host", spec.host, "--port", str(port), "--served-model-name", spec.served_name or name]
        if machine.has_gpu:
            argv.append("--enable-memory-saver")
            if spec.sleep_level == 1:
                argv.append("--enable-weights-cpu-backup")
        if spec.api_key:
            argv += ["--api-key", spec.api_key]
        return Launch(argv=(*argv, *own_args(name, spec, port)), env=env)

    def probe(self, spec: ModelSpec) -> Probe:
        """`/ready` makes no token and says no while paused; versions without it have `/health` alone."""
        if spec.health_path is not None:
            return Probe(path=spec.health_path, timeout_s=_PROBE_S)
        return Probe(path="/ready", otherwise="/health", timeout_s=_PROBE_S)

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        """Whether the weights stay in host memory is settled when the engine starts, so one level only."""
        return (spec.sleep_level,)

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        """Always `abort`: its other modes keep requests inside, and with one there the release kills the server; a
        mode that waits for them, as `sleep_mode: wait` asks of vLLM, it does not have. The flush is refused while
        anything runs, and so stands before the release as a guard."""
        timeout_s = spec.timeouts.sleep or spec.timeouts.step
        return (
            Step(path="/pause_generation", json={"mode": "abort"}, timeout_s=timeout_s),
            Step(path="/flush_cache", timeout_s=timeout_s, retries=_FLUSH_TRIES - 1, retry_delay_s=0.5),
            Step(path="/release_memory_occupation", json={}, timeout_s=timeout_s),
        )

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """Weights that have no copy in host memory come back as garbage: they are read again before it goes on."""
        timeout_s = spec.timeouts.wake or spec.timeouts.step
        reload = Step(
            path="/update_weights_from_disk",
            json={"model_path": spec.weights},
            timeout_s=timeout_s,
            expect=Expect(at="success", equals=True),
        )
        again = spec.weights is not None and (level != 1 or not _backed_up(spec))
        return (
            Step(path="/resume_memory_occupation", json={}, timeout_s=timeout_s),
            *((reload,) if again else ()),
            Step(path="/flush_cache", timeout_s=timeout_s, retries=_FLUSH_TRIES - 1, retry_delay_s=0.5),
            Step(path="/continue_generation", json={}, timeout_s=timeout_s),
        )

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return None

    def is_asleep(self, status: int, body: object) -> bool | None:
        return None

    def signs(self, spec: ModelSpec) -> Signs:
        """Its flags are asked where roost did not write them itself."""
        told = spec.command is None and spec.url is None
        flags = Step(method="GET", path="/server_info", timeout_s=_PROBE_S)
        return Signs(once=() if told else (flags,), fragile=True)

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        """Flags that are off where a sleep needs them."""
        flags = _flags(answers)
        found: list[Notice] = []
        if str(flags.get("device")) != "cpu" and flags.get("enable_memory_saver") is False:
            found.append(
                Notice(
                    text=f"SGLang runs without --{_SAVER}: a sleep answers well and frees nothing. "
                    f"Add --{_SAVER} to its command line."
                )
            )
        elif flags.get("enable_weights_cpu_backup") is False and spec.weights is None:
            found.append(
                Notice(
                    text=f"SGLang runs without --{_BACKUP}, and roost does not know where its weights are: after a "
                    f"sleep it would answer garbage. Add --{_BACKUP} to its command line, or write `weights`.",
                    no_sleep=True,
                )
            )
        return found

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        return openai_verify(spec, served_name)


def _backed_up(spec: ModelSpec) -> bool:
    """Whether the weights keep a copy in host memory: roost's own command line for level 1 sees to it."""
    if spec.command is None and spec.url is None:
        return spec.sleep_level == 1
    words = (spec.command or "",) if isinstance(spec.command, str | None) else spec.command
    return any(_BACKUP in word for word in (*words, *spec.args))


def _flags(answers: Sequence[tuple[int, object] | None]) -> Mapping[str, object]:
    """What `/server_info` says of its command line; empty where it says nothing."""
    for answer in answers:
        if answer is not None and answer[0] == 200 and isinstance(answer[1], dict):
            return answer[1]
    return {}


def _lost_weights(name: str) -> Problem:
    return Problem(
        path=("models", name, "sleep_level"),
        message=f"SGLang at sleep level 1 has its weights back after a wake only where it runs with --{_BACKUP}",
        value="1",
        hint=f"Start it with --{_BACKUP}, or write `weights: FOLDER` as the engine sees it, to read them again",
        severity="warning",
    )


def _python(name: str, spec: ModelSpec, machine: Machine) -> str:
    if spec.venv:
        return "python"  # found on the PATH that begins with the venv's programs
    if "sglang" not in machine.modules:
        raise StartError(
            f"Model {name!r} needs the Python package sglang, which {machine.python} does not have. Install it "
            f"(pip install sglang), name the environment that has it (venv: /path/to/venv), or give the whole "
            f"command line (command: ...)."
        )
    return machine.python


SGLANG = Sglang()
