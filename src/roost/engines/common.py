"""What adapters share: the user's own words, the verifying request, checks.

The config has split command lines into words already. Pure values; called by the adapters beside it.
"""

from collections.abc import Sequence

from roost.core.problems import Problem
from roost.core.spec import ModelSpec, Task
from roost.core.step import Step


def own_args(name: str, spec: ModelSpec, port: int) -> tuple[str, ...]:
    """`spec.args` with `${PORT}`, `${HOST}` and `${MODEL}` replaced."""
    return tuple(fill(part, name, spec, port) for part in spec.args)


def own_command(name: str, spec: ModelSpec, port: int) -> tuple[str, ...]:
    """`spec.command` and `args` with their variables replaced; empty where the spec has no command."""
    if spec.command is None:
        return ()
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    return tuple(fill(part, name, spec, port) for part in words) + own_args(name, spec, port)


def lora_flags(spec: ModelSpec) -> tuple[str, ...]:
    """What lets the engine hold the model's adapters, without what its own arguments say already; vLLM's flags."""
    if not spec.adapters:
        return ()
    on = () if said_flag(spec.args, "enable-lora") else ("--enable-lora",)
    return on if said_flag(spec.args, "max-loras") else (*on, "--max-loras", str(spec.max_loras))


def said_flag(words: Sequence[str], flag: str) -> bool:
    """Whether these words of a command line hold the flag, in either spelling, with or without `=`."""
    names = {f"--{flag}", f"--{flag.replace('-', '_')}"}
    return any(word.partition("=")[0] in names for word in words)


def fill(text: str, name: str, spec: ModelSpec, port: int) -> str:
    """`${HOST}` is where the engine is to listen, `${MODEL}` the name that it knows the model by."""
    return (
        text.replace("${PORT}", str(port)).replace("${HOST}", spec.host).replace("${MODEL}", spec.served_name or name)
    )


def health_step(spec: ModelSpec, default: str = "/health") -> Step:
    """The health path as a step: what verifies a model that none of the known requests fits."""
    return Step(method="GET", path=spec.health_path or default, timeout_s=spec.timeouts.step)


def openai_verify(spec: ModelSpec, served_name: str) -> Step:
    """The smallest OpenAI-style request that fits the task and touches the weights."""
    timeout_s = spec.timeouts.step
    match spec.task:
        case Task.GENERATE:
            body = {"model": served_name, "prompt": "Hi", "max_tokens": 1, "temperature": 0}
            return Step(path="/v1/completions", json=body, timeout_s=timeout_s)
        case Task.EMBED:
            body = {"model": served_name, "input": "Hi"}
            return Step(path="/v1/embeddings", json=body, timeout_s=timeout_s)
        case Task.RERANK:
            ranked = {"model": served_name, "query": "Hi", "documents": ["Hi"]}
            return Step(path="/v1/rerank", json=ranked, timeout_s=timeout_s)
        case Task.OTHER:
            return health_step(spec)


def launch_problems(name: str, spec: ModelSpec, kind: str) -> Sequence[Problem]:
    """Faults of a model that a server program must load: it needs weights."""
    found: list[Problem] = []
    if spec.weights is None and spec.command is None and spec.url is None:
        found.append(
            Problem(
                path=("models", name),
                message=f"engine {kind} needs `weights`",
                hint="Write `weights: FOLDER-OR-HUB-ID`, or `url:` for an engine that runs already",
            )
        )
    return found
