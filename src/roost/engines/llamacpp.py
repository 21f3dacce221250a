"""llama.cpp as values: command line (its own binary, else the embedded server), probe, and how its sleep is seen.

Never calls anything itself. Facts: it has no order to sleep, only an idle time given at its start; any request wakes
it, `/slots`, `/tokenize` and `/lora-adapters` too, so only `/health` and `/props` may be polled. Used by `registry`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roost.core.errors import StartError
from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.core.step import Probe, Step
from roost.engines.base import Launch, Machine
from roost.engines.common import health_step, own_args, own_command
from roost.engines.plain import Sleepless

EMBEDDED = "roost.host.embedded_llamacpp"
_WEIGHTS_FLAGS = frozenset({"-m", "--model", "-hf", "-hfr", "--hf-repo", "-mu", "--model-url", "-dr", "--docker-repo"})
_LEAST_S = 1.0
"""Of the verifying request: `max_wait: 0s` lets nobody wait, and is no limit to a start."""
_TASK_FLAGS = {Task.EMBED: ("--embeddings", "--pooling", "mean"), Task.RERANK: ("--reranking",)}


@dataclass(frozen=True, slots=True)
class Llamacpp(Sleepless):
    """The adapter; one value, `LLAMACPP`."""

    kind: EngineKind = EngineKind.LLAMACPP
    inference_paths: Sequence[str] = (
        "/completion",
        "/completions",
        "/chat/completions",
        "/responses",
        "/embedding",
        "/embeddings",
        "/rerank",
        "/reranking",
        "/infill",
        "/tokenize",
        "/detokenize",
        "/apply-template",
    )
    control_paths: Sequence[str] = (
        "/slots",
        "/props",
        "/lora-adapters",
        "/models/load",
        "/models/unload",
        "/models/sse",
        "/tools",
        "/cors-proxy",
    )

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        found: list[Problem] = []
        if spec.weights is None and spec.command is None and spec.url is None and not _loads_by_args(spec):
            hint = "Write `weights: FILE.gguf`, or `url:` for an engine that runs already"
            found.append(Problem(path=("models", name), message="engine llamacpp needs `weights`", hint=hint))
        elif spec.weights is not None and not spec.weights.lower().endswith(".gguf"):
            found.append(_not_gguf(name, spec.weights))
        return found

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        """The user's own `args` come last: where a flag is given twice, llama.cpp takes the last one."""
        env = {"LLAMA_API_KEY": spec.api_key} if spec.api_key else {}  # arguments can be read by every local user
        if spec.command is not None:
            return Launch(argv=own_command(name, spec, port), env=env)
        argv = [*_program(name, spec, machine)]
        if spec.weights is not None:
            argv += ["--model", spec.weights]
        argv += ["--host", spec.host, "--port", str(port), "--alias", spec.served_name or name]
        argv += [*_TASK_FLAGS.get(spec.task, ()), *_slots(spec), *_idle(spec)]
        return Launch(argv=(*argv, *own_args(name, spec, port)), env=env)

    def probe(self, spec: ModelSpec) -> Probe:
        """503 while it loads, 200 from then on, asleep too."""
        return Probe(path=spec.health_path or "/health")

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return Step(method="GET", path="/props", timeout_s=2.0)

    def is_asleep(self, status: int, body: object) -> bool | None:
        """None from servers older than idle sleep, and while it loads (503)."""
        if status != 200 or not isinstance(body, dict):
            return None
        asleep = body.get("is_sleeping")
        return asleep if isinstance(asleep, bool) else None

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        """On a sleeping server this request is the wake, which loads the weights from disk: its limit is a wake's, or
        it ends while those who wait for it can still be served by a fresh start."""
        match spec.task:
            case Task.GENERATE:
                body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0}
                return _post("/v1/chat/completions", spec, served_name, body)
            case Task.EMBED:
                return _post("/v1/embeddings", spec, served_name, {"input": "Hi"})
            case Task.RERANK:
                return _post("/v1/rerank", spec, served_name, {"query": "Hi", "documents": ["Hi"]})
            case Task.OTHER:
                return health_step(spec)


def _post(path: str, spec: ModelSpec, served_name: str, body: dict[str, object]) -> Step:
    limit = spec.timeouts.wake or min(spec.start_timeout, spec.queue.max_wait / 2)
    return Step(path=path, json={"model": served_name, **body}, timeout_s=max(limit, _LEAST_S))


def _slots(spec: ModelSpec) -> tuple[str, ...]:
    """One slot per request; unified, or each would get only its share of the context."""
    return () if spec.concurrency is None else ("--parallel", str(spec.concurrency), "--kv-unified")


def _idle(spec: ModelSpec) -> tuple[str, ...]:
    """Whole seconds, at least one; nothing for a pinned model, for `sleep_after: never`, and for a model with sleep
    steps of its own: it must not sleep behind their back."""
    if spec.pin or spec.sleep_after is None or spec.sleep_steps:
        return ()
    return ("--sleep-idle-seconds", str(max(1, math.ceil(spec.sleep_after))))


def _program(name: str, spec: ModelSpec, machine: Machine) -> tuple[str, ...]:
    if spec.venv:
        return ("llama-server",)  # found on the PATH that begins with the venv's programs
    if "llama-server" in machine.programs:
        return (machine.programs["llama-server"],)
    if "xllamacpp" in machine.modules:
        return (machine.python, "-m", EMBEDDED)
    raise StartError(
        f"Model {name!r} needs llama.cpp, and this machine has neither the program llama-server on the PATH nor the "
        f"Python package xllamacpp. Run: pip install xllamacpp, or put llama-server on the PATH."
    )


def _loads_by_args(spec: ModelSpec) -> bool:
    return any(part.split("=", 1)[0] in _WEIGHTS_FLAGS for part in spec.args)


def _not_gguf(name: str, weights: str) -> Problem:
    return Problem(
        path=("models", name, "weights"),
        message="llama.cpp loads .gguf files, and this does not end in .gguf",
        hint="Name the file itself; engines for folders and hub ids are vllm and sglang",
        value=weights,
        severity="warning",
    )


LLAMACPP = Llamacpp()
