"""One entry of `instances` of the kvcached dialect, as the parts of a native model and of its replica.

Nothing of it is checked here but what the native form has no word for; faulty parts are left out. Pure; called by
`kvcached`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from roost.config.dialects import arguments
from roost.config.dialects.fields import Faults, made, written
from roost.config.masking import is_secret_name
from roost.config.tree import Node
from roost.config.validate import to_data
from roost.core.spec import EngineKind

ADDITIONS = (
    "footprint",
    "footprint_asleep",
    "devices",
    "aliases",
    "also_serves",
    "pin",
    "sleep_level",
    "task",
    "api_key",
    "concurrency",
    "description",
)
"""Keys of a native model that an instance may have as they are."""
KEYS = (
    "name",
    "model",
    "engine",
    "engine_args",
    "args",
    "engine_env",
    "kvcached_env",
    "using_venv",
    "venv_path",
    *ADDITIONS,
)
_HINTS = {
    "port": 'Write it in engine_args: "--port 12346".',
    "host": 'Write it in engine_args: "--host 127.0.0.1".',
    "env": 'Write it as engine_env: ["NAME=value"].',
    "venv": "Write using_venv: true and venv_path: FOLDER.",
    "weights": "Write it as model.",
    "command": "roost config convert prints the native form, which has this key.",
    "url": "roost config convert prints the native form, which has this key.",
}
_ENGINES = {"vllm": EngineKind.VLLM, "sglang": EngineKind.SGLANG, "sgl": EngineKind.SGLANG}
_COMMANDS = {
    EngineKind.VLLM: ("python", "-m", "vllm.entrypoints.openai.api_server", "--model"),
    EngineKind.SGLANG: ("python", "-m", "sglang.launch_server", "--model-path"),
}
DEVICE_VARIABLES = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "ASCEND_RT_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
    }
)
"""What may differ between replicas of one model: it says where an engine runs, not what it does."""
_SLEEP_FLAGS = {EngineKind.VLLM: "--enable-sleep-mode", EngineKind.SGLANG: "--enable-memory-saver"}
_RELOAD_LIMIT = "2m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What an entry says, each value with its place."""

    node: Node
    model: Node
    name: Node | None
    engine: EngineKind | None
    words: arguments.Arguments
    env: Mapping[str, Node]
    own_env: Mapping[str, Node]
    """Variables that say on which device it runs."""
    venv: Node | None
    additions: Mapping[str, Node]

    def command(self) -> tuple[Node, ...]:
        """The command line of the controller that this form comes from."""
        if self.engine is None:
            return ()
        start = tuple(made(word, self.node, "engine") for word in _COMMANDS[self.engine])
        line = (*start, self.model, *self.words.words)
        if self.words.port is None and not any("${PORT}" in word.text for word in line):
            line = (*line, *(made(word, self.node) for word in ("--port", "${PORT}")))
        if self.model.text.startswith("~") and self.words.served is None:  # the word is expanded, the name is not
            line = (*line, *(made(word, self.node) for word in ("--served-model-name", "${MODEL}")))
        return line

    def fields(self) -> dict[str, Node]:
        """The native keys that stand in the entry itself."""
        written_here = {"venv": self.venv, "served_name": self.words.served}
        kind = made("", self.node, "engine") if self.engine is None else made(self.engine.value, self.node, "engine")
        fields = {
            "engine": replace(kind, broken=self.engine is None),
            "weights": self.model,
            "command": replace(made(self.command(), self.node, "engine_args"), broken=self.engine is None),
            "env": made(self.env, self.node, "engine_env"),
            **{key: value for key, value in written_here.items() if value is not None},
        }
        if self.engine is EngineKind.SGLANG:
            fields["timeouts"] = made({"step": made(_RELOAD_LIMIT, self.node)}, self.node)
            if not self.words.has("--enable-weights-cpu-backup"):  # then the weights are read from disk at each wake
                fields["sleep_level"] = made(2, self.node, "sleep_level")
        return {**fields, **self.additions}

    def replica(self, name: Node) -> Node:
        """The entry as a replica."""
        host = self.words.host or made("localhost", self.node)
        port = {} if self.words.port is None else {"port": self.words.port}
        return made({"name": name, "host": host, **port, "env": made(self.own_env, self.node)}, self.node)

    def differences(self, other: "Instance") -> list[str]:
        """What keeps the two from being replicas of one model, as the file calls it."""
        ours, theirs = self._shared(), other._shared()
        return [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]

    def _shared(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "engine_args": self.words.others,
            "venv_path": self.venv.text if self.venv is not None else None,
            **{f"variable {name}": value.text for name, value in self.env.items()},
            **{key: to_data(value, None) for key, value in self.additions.items()},
        }


def read(faults: Faults, node: Node, shared_env: Mapping[str, Node]) -> Instance | None:
    """One entry; None where it has no model to name it by. `shared_env` comes first, the entry's own variables win."""
    if not isinstance(node.value, Mapping):
        faults.add(node, "is not a mapping", 'Write its keys, such as "model: NAME" and "engine: vllm".')
        return None
    faults.keys(node, KEYS, _HINTS)
    model, name, engine = faults.text(node, "model"), faults.text(node, "name"), _engine(faults, node)
    words = arguments.read(faults, arguments.split(faults, _args(faults, node)))
    env = {**shared_env, **variables(faults, node, "engine_env"), **variables(faults, node, "kvcached_env")}
    venv = _venv(faults, node)
    if model is None:
        if written(node, "model") is None:
            faults.add(node, '"model" is missing', "Add model: HUB-ID-OR-FOLDER to it.")
        return None
    return Instance(
        node=node,
        model=model,
        name=name,
        engine=engine,
        words=words,
        env={key: value for key, value in env.items() if key not in DEVICE_VARIABLES},
        own_env={key: value for key, value in env.items() if key in DEVICE_VARIABLES},
        venv=venv,
        additions={key: value for key in ADDITIONS if (value := written(node, key)) is not None},
    )


def warn_if_sleepless(faults: Faults, instance: Instance) -> None:
    """The engines can only be put to sleep if they were started for it."""
    flag = _SLEEP_FLAGS.get(instance.engine) if instance.engine is not None else None
    if flag is not None and not instance.words.has(flag):
        message = f"has no {flag}, so this engine cannot free its memory, and auto_sleep_enabled is true"
        place = written(instance.node, "engine_args") or written(instance.node, "args") or instance.node
        faults.add(place, message, f"Add {flag} to engine_args.", severity="warning")


def _engine(faults: Faults, node: Node) -> EngineKind | None:
    word = faults.text(node, "engine")
    if word is None:
        if written(node, "engine") is None:
            faults.add(node, '"engine" is missing', "Add engine: vllm or engine: sglang to it.")
        return None
    engine = _ENGINES.get(word.text.lower())
    if engine is None:
        near = get_close_matches(word.text.lower(), _ENGINES, n=1)
        hint = f'Did you mean "{near[0]}"?' if near else "roost config convert prints the native form, for any engine."
        faults.add(word, f'"{word.text[:60]}" is not one of vllm, sgl, sglang', hint)
    return engine


def _args(faults: Faults, node: Node) -> Node | None:
    """The arguments under either of their names."""
    args, engine_args = written(node, "args"), written(node, "engine_args")
    if args is not None and engine_args is not None:
        faults.add(
            args, f"args and engine_args (line {engine_args.line}) are two names of one key", "Keep one of them."
        )
    return engine_args or args


def _venv(faults: Faults, node: Node) -> Node | None:
    wanted, path = faults.truth(node, "using_venv"), faults.text(node, "venv_path")
    if wanted and path is None and written(node, "venv_path") is None:
        faults.add(node.mapping["using_venv"], '"venv_path" is missing', "Add venv_path: FOLDER to the instance.")
    return path if wanted else None


def variables(faults: Faults, node: Node, key: str) -> dict[str, Node]:
    """`NAME=VALUE` entries, or names with values below them."""
    listed = written(node, key)
    if listed is None:
        return {}
    if isinstance(listed.value, Mapping):
        return {name: _text(faults, value) for name, value in listed.mapping.items() if value.value is not None}
    if not isinstance(listed.value, tuple):
        faults.add(listed, "is not a list", 'Write it as a list: ["NAME=value"].')
        return {}
    pairs = (_variable(faults, item) for item in listed.items)
    return {pair[0]: pair[1] for pair in pairs if pair is not None}


def _text(faults: Faults, node: Node) -> Node:
    if isinstance(node.value, tuple | Mapping):
        faults.add(node, "is not a single value", "An environment variable holds one text.")
        return replace(node, value="", broken=True)
    return replace(node, value=node.value if isinstance(node.value, str) else node.text)


def _variable(faults: Faults, item: Node) -> tuple[str, Node] | None:
    text = item.value if isinstance(item.value, str) else item.text
    name, equals, value = text.partition("=")
    if not equals:  # the text is not repeated: it may hold a secret
        faults.add(item, 'has no "=": it is not a variable', "Write it as NAME=value.")
        return None
    source = item.source.partition("=")[2] if item.source.startswith(f"{name}=") else ""
    return name, replace(item, value=value, text=value, source=source, secret=item.secret or is_secret_name(name))
