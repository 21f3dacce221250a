"""From a replica's spec to what its keeper starts: command line, environment, log header, and its fingerprint.

Reads the configuration, starts nothing. Called by `host/work.py` and `host/adoption.py`.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roost import clock
from roost.config.masking import mask_words
from roost.core.errors import StartError
from roost.core.spec import EngineKind, ModelSpec
from roost.host.keepers.base import Start
from roost.host.store import digest

if TYPE_CHECKING:
    from roost.host.replica import Replica

MASK = "***"
HEADER_CHARS = 2000
_LOADS_WEIGHTS = frozenset({EngineKind.LLAMACPP, EngineKind.VLLM, EngineKind.SGLANG})


def start_of(replica: "Replica") -> Start:
    """What the config says of this engine. Raises StartError where a program is missing."""
    spec, setup = replica.spec, replica.setup
    launch = setup.adapter.launch(replica.model, spec, replica.address.port, setup.machine)
    env = {**launch.env, **_placed(replica), **{name: _fill(replica, value) for name, value in spec.env.items()}}
    if spec.venv is not None:
        env["VIRTUAL_ENV"] = spec.venv
        env["PATH"] = f"{spec.venv}/bin{os.pathsep}{env.get('PATH') or os.environ.get('PATH', '')}"
    shown = shown_command(launch.argv, spec)[:HEADER_CHARS]
    return Start(
        argv=launch.argv,
        env=env,
        cwd=spec.cwd or setup.cwd,
        address=replica.address,
        header=f"{replica.id} started at {clock.iso(clock.wall())}: {shown}",
    )


def _placed(replica: "Replica") -> Mapping[str, str]:
    """Whoever writes such a variable has placed the engine himself."""
    if any(name.endswith("_VISIBLE_DEVICES") for name in replica.spec.env):
        return {}
    return replica.setup.memory.visible(replica.devices)


def check_files(replica: "Replica") -> None:
    """Raises StartError if local weights or the venv are not there; the config has made local paths absolute. Without
    this a missing venv would let another Python of the PATH run the engine."""
    spec, kind = replica.spec, replica.setup.adapter.kind
    if spec.venv is not None and not Path(spec.venv, "bin").is_dir():
        raise StartError(
            f"The venv of {replica.model!r} is not at {spec.venv} (no bin folder). Make it or correct `venv`."
        )
    weights = spec.weights
    if weights is None or spec.command is not None or kind not in _LOADS_WEIGHTS or not weights.startswith("/"):
        return
    if not Path(weights).exists():
        raise StartError(f"The weights of {replica.model!r} are not at {weights}. Put them there or correct `weights`.")


def fingerprint(start: Start) -> Mapping[str, str]:
    """Digests of command line and environment: the same for the same config, from whatever shell roost starts."""
    env = {name: value for name, value in start.env.items() if name != "PATH"}
    return {"argv": digest(start.argv), "env": digest({**env, " cwd": start.cwd})}


def shown_command(argv: tuple[str, ...], spec: ModelSpec) -> str:
    """A command line as one would type it, without its keys: log and API are read by whoever may read the status."""
    words = mask_words(argv)
    return shlex.join(word.replace(spec.api_key, MASK) for word in words) if spec.api_key else shlex.join(words)


def _fill(replica: "Replica", value: str) -> str:
    return value.replace("${PORT}", str(replica.address.port)).replace("${MODEL}", replica.served_name)
