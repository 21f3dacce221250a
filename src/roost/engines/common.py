"""What adapters share: splitting arguments, the user's own command line, the verifying request, checks.

Pure values like every adapter. Called by the adapters beside it, never by `host`.
"""

import shlex
from collections.abc import Iterable, Sequence

from roost.core.problems import Problem
from roost.core.spec import ModelSpec, Task
from roost.core.step import Step


def split_args(args: Iterable[str]) -> tuple[str, ...]:
    """Each entry split as a shell would, without a shell. Raises ValueError on an open quote."""
    return tuple(part for entry in args for part in shlex.split(entry))


def own_command(name: str, spec: ModelSpec, port: int) -> tuple[str, ...]:
    """`spec.command` and `args` with `${PORT}` and `${MODEL}` replaced; empty where the spec has no command."""
    if spec.command is None:
        return ()
    parts = shlex.split(spec.command) if isinstance(spec.command, str) else spec.command
    return tuple(fill(part, name, spec, port) for part in (*parts, *split_args(spec.args)))


def fill(text: str, name: str, spec: ModelSpec, port: int) -> str:
    """`${MODEL}` is the name that the engine knows the model by."""
    return text.replace("${PORT}", str(port)).replace("${MODEL}", spec.served_name or name)


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
    """Faults of a model that a server program must load: no weights, a quote left open."""
    found = list(args_problems(name, spec))
    if spec.weights is None and spec.command is None and spec.url is None:
        found.append(
            Problem(
                path=("models", name),
                message=f"engine {kind} needs `weights`",
                hint="Write `weights: FOLDER-OR-HUB-ID`, or `url:` for an engine that runs already",
            )
        )
    return found


def args_problems(name: str, spec: ModelSpec) -> Sequence[Problem]:
    """One problem per `args` entry, `command` or `stop_command` that a shell could not split."""
    found = [_quote_problem(("models", name, "args", at), entry) for at, entry in enumerate(spec.args)]
    for key, value in (("command", spec.command), ("stop_command", spec.stop_command)):
        if isinstance(value, str):
            found.append(_quote_problem(("models", name, key), value))
    return [problem for problem in found if problem is not None]


def _quote_problem(path: tuple[str | int, ...], text: str) -> Problem | None:
    try:
        shlex.split(text)
    except ValueError as error:
        hint = 'Close the quote, or write a literal one as \\"'
        return Problem(path=path, message=f"cannot be split into arguments ({error})", value=text, hint=hint)
    return None
