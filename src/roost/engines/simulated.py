"""The adapter of the simulated engine (`roost.sim`), and the configuration in which every engine is simulated.

Values only. Called by the registry of adapters and by `roost up --simulate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from roost.core.hosted_spec import HostSpec
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, ReplicaSpec, RoostSpec, Task
from roost.core.step import Probe, Step
from roost.engines.base import Launch, Machine, Notice, Signs
from roost.engines.common import lora_flags, own_args
from roost.engines.own import has_own_steps
from roost.engines.simulated_steps import BuiltIn, simulated_steps
from roost.engines.vllm import SLEEP_GAUGE

_OWN_IDLE = "llamacpp-idle"
_VERIFY_TIMEOUT_S = 30.0
_QUERY_TIMEOUT_S = 5.0


def _sleeps_by_itself(spec: ModelSpec) -> bool:
    return any(_OWN_IDLE in entry for entry in spec.args)


@dataclass(frozen=True, slots=True)
class SimulatedAdapter:
    """`engine: simulated`. With `--kind llamacpp-idle` in its args it has no sleep order, like llama-server."""

    kind: EngineKind = EngineKind.SIMULATED
    inference_paths: Sequence[str] = ("/tokenize", "/detokenize", "/rerank", "/v2/rerank", "/score")
    control_paths: Sequence[str] = (
        "/sleep",
        "/wake_up",
        "/is_sleeping",
        "/pause",
        "/resume",
        "/is_paused",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/abort_requests",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/slots",
        "/models/load",
        "/models/unload",
        "/sim/set",
        "/sim/stats",
    )

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        """A command, which it would never run."""
        problems: list[Problem] = []
        if spec.command is not None:
            problems.append(
                Problem(
                    path=("models", name, "command"),
                    message="engine simulated starts its own program and never runs a command",
                    hint="Leave command out, or write engine: command.",
                )
            )
        return problems

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        """`python -m roost.sim` under roost's own interpreter. The served name decides what it answers."""
        served = spec.served_name or name
        argv = [machine.python, "-m", "roost.sim", f"--model={served}"]
        argv += [f"--served-model-name={known}" for known in (served, *spec.also_serves)]
        argv += ["--host", spec.host, "--port", str(port)]
        if spec.api_key is not None:
            argv.append(f"--api-key={spec.api_key}")
        if spec.context_length is not None:
            argv += ["--max-model-len", str(spec.context_length)]
        argv += lora_flags(spec)
        return Launch(argv=(*argv, *own_args(name, spec, port)))

    def probe(self, spec: ModelSpec) -> Probe:
        """GET /health, which never wakes it."""
        return Probe(path=spec.health_path or "/health")

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        return () if _sleeps_by_itself(spec) else (1, 2)

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        """Mode wait: whatever still runs ends first."""
        query = (("level", str(level)), ("mode", "wait"))
        return (Step(path="/sleep", query=query, timeout_s=spec.timeouts.sleep or spec.timeouts.step),)

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        """Level 2 lets requests in only once the weights are read again and the prefix cache is theirs."""
        limit = spec.timeouts.wake or spec.timeouts.step
        if _sleeps_by_itself(spec):
            return ()
        if level != 2:
            return (Step(path="/wake_up", timeout_s=limit),)
        return (
            Step(path="/wake_up", query=(("tags", "weights"),), timeout_s=limit),
            Step(path="/collective_rpc", json={"method": "reload_weights"}, timeout_s=limit),
            Step(path="/wake_up", query=(("tags", "kv_cache"),), timeout_s=limit),
            Step(path="/reset_prefix_cache", timeout_s=limit),
        )

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        path = "/props" if _sleeps_by_itself(spec) else "/is_sleeping"
        return Step(method="GET", path=path, timeout_s=_QUERY_TIMEOUT_S)

    def is_asleep(self, status: int, body: object) -> bool | None:
        """`{"is_sleeping": bool}` from either path."""
        said = body.get("is_sleeping") if status == 200 and isinstance(body, dict) else None
        return said if isinstance(said, bool) else None

    def signs(self, spec: ModelSpec) -> Signs:
        if _sleeps_by_itself(spec):
            return Signs()
        paused = Step(method="GET", path="/is_paused", timeout_s=_QUERY_TIMEOUT_S)
        return Signs(paused=paused, gauge=SLEEP_GAUGE)

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        return ()

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        """One token, one vector or one ranking; the health path where the task is none of these."""
        match spec.task:
            case Task.GENERATE:
                message = {"role": "user", "content": "Hello"}
                body = {"model": served_name, "messages": [message], "max_tokens": 1}
                return Step(path="/v1/chat/completions", json=body, timeout_s=_VERIFY_TIMEOUT_S)
            case Task.EMBED:
                return Step(
                    path="/v1/embeddings", json={"model": served_name, "input": "Hello"}, timeout_s=_VERIFY_TIMEOUT_S
                )
            case Task.RERANK:
                body = {"model": served_name, "query": "Hello", "documents": ["Hello"]}
                return Step(path="/v1/rerank", json=body, timeout_s=_VERIFY_TIMEOUT_S)
            case Task.OTHER:
                return Step(method="GET", path=spec.health_path or "/health", timeout_s=_VERIFY_TIMEOUT_S)


SIMULATED = SimulatedAdapter()
_KNOWN = frozenset(SIMULATED.control_paths) - {"/models/load", "/models/unload", "/slots"}
"""What it knows as the kind of engine that `simulate` starts."""


def simulate(spec: RoostSpec) -> RoostSpec:
    """The same configuration with every engine simulated: names, queues, times, footprints and own steps stay, all that
    says where and how the real engine runs goes. Footprints are planned with, not allocated. Of servers that hold
    several models their places stay: each model has an engine of its own, and counts against its server's."""
    bounds = {name: host.max_resident for name, host in spec.hosts.items() if host.max_resident is not None}
    hosts = {name: HostSpec(url="", discover=False, max_resident=most) for name, most in bounds.items()}
    return replace(spec, models={name: _simulated(model) for name, model in spec.models.items()}, hosts=hosts)


def _simulated(model: ModelSpec) -> ModelSpec:
    bare, args = ModelSpec(), tuple[str, ...]()
    if has_own_steps(model):
        level = model.sleep_level
        known = BuiltIn(paths=_KNOWN, sleep=SIMULATED.sleep(model, level), wake=SIMULATED.wake(bare, level))
        model, further = simulated_steps(model, known)
        args = tuple(f"--also-answer={path}" for path in further)
    return replace(
        model,
        engine=EngineKind.SIMULATED,
        weights=None,
        command=None,
        url=None,
        replicas=tuple(ReplicaSpec(name=own.name) for own in model.replicas),
        host=bare.host,
        port=None,
        args=args,
        env={},
        venv=None,
        cwd=None,
        stop_command=None,
        health_path=None,
    )
