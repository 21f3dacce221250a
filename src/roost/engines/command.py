"""Any server program by its own command line, or any server that runs already: it listens, that is all we know.

Never calls anything itself and assumes no endpoint but the health path. Collected by `registry`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roost.core.problems import Problem
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Probe, Step
from roost.engines.base import Launch, Machine
from roost.engines.common import health_step, own_command
from roost.engines.plain import Sleepless


@dataclass(frozen=True, slots=True)
class Command(Sleepless):
    """The adapter; one value, `COMMAND`."""

    kind: EngineKind = EngineKind.COMMAND
    inference_paths: Sequence[str] = ("/tokenize", "/detokenize", "/rerank", "/score", "/embed", "/generate")
    control_paths: Sequence[str] = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")

    def validate(self, name: str, spec: ModelSpec) -> Sequence[Problem]:
        found: list[Problem] = []
        if not spec.command and spec.url is None:
            found.append(
                Problem(
                    path=("models", name),
                    message="engine command needs `command` or `url`",
                    hint="Write `command: my-server --port ${PORT}`, or `url: http://127.0.0.1:8000`",
                )
            )
        elif spec.command and spec.port is None and "${PORT}" not in _text(spec):
            found.append(
                Problem(
                    path=("models", name, "command"),
                    message="nothing tells the program which port to listen on",
                    value=" ".join(_parts(spec.command)),
                    hint="Put ${PORT} into `command`, `args` or `env`, or write the `port` it listens on",
                )
            )
        return found

    def launch(self, name: str, spec: ModelSpec, port: int, machine: Machine) -> Launch:
        return Launch(argv=own_command(name, spec, port))

    def probe(self, spec: ModelSpec) -> Probe:
        return Probe(path=spec.health_path or "/health")

    def verify(self, spec: ModelSpec, served_name: str) -> Step:
        """The health path: a program nobody described may have no completion endpoint at all."""
        return health_step(spec)


def _parts(command: str | tuple[str, ...]) -> tuple[str, ...]:
    return (command,) if isinstance(command, str) else command


def _text(spec: ModelSpec) -> str:
    return " ".join((*_parts(spec.command or ""), *spec.args, *spec.env.values()))


COMMAND = Command()
