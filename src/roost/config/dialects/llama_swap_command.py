"""What the command line of a llama-swap model tells: its comments taken out, the kind of engine, its task and name.

Reads words, never changes them but for the comments. Guesses only what the words say plainly. Pure; called by
`llama_swap_model`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from roost.config.dialects.arguments import split
from roost.config.dialects.fields import Faults
from roost.config.finish import split_words
from roost.config.tree import Node
from roost.core.spec import EngineKind, Task

_WORD = re.compile(r"""[^\s'"]+""")
_IMAGES = (
    ("llama.cpp:", EngineKind.LLAMACPP),
    ("vllm-openai", EngineKind.VLLM),
    ("lmsysorg/sglang", EngineKind.SGLANG),
)
_MODULES = (("vllm.entrypoints.", EngineKind.VLLM), ("sglang.launch_server", EngineKind.SGLANG))
_SERVERS = {("vllm", "serve"): EngineKind.VLLM, ("sglang", "serve"): EngineKind.SGLANG}
_TASKS: Mapping[EngineKind, Mapping[str, Task]] = {
    EngineKind.LLAMACPP: {
        "--reranking": Task.RERANK,
        "--rerank": Task.RERANK,
        "--embeddings": Task.EMBED,
        "--embedding": Task.EMBED,
    },
    EngineKind.VLLM: {
        "--task=embed": Task.EMBED,
        "--task=embedding": Task.EMBED,
        "--convert=embed": Task.EMBED,
        "--task=score": Task.RERANK,
        "--task=rerank": Task.RERANK,
        "--task=classify": Task.OTHER,
    },
    EngineKind.SGLANG: {"--is-embedding": Task.EMBED},
}
_SLEEP_FLAGS = {EngineKind.VLLM: "--enable-sleep-mode", EngineKind.SGLANG: "--enable-memory-saver"}
_DEVELOPMENT = "VLLM_SERVER_DEV_MODE"
_SERVED = "--served-model-name"
_KEY = "--api-key"
_KEY_VARIABLES = {EngineKind.VLLM: "VLLM_API_KEY", EngineKind.LLAMACPP: "LLAMA_API_KEY", EngineKind.SGLANG: ""}
"""Engines that know the flag, and what else they read their key from."""


def without_comments(node: Node) -> Node:
    """A text without the lines that begin with #."""
    if not isinstance(node.value, str) or "#" not in node.value:
        return node
    return replace(node, value=_stripped(node.value), text=_stripped(node.text), source=_stripped(node.source))


def _stripped(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def engine_of(text: str) -> EngineKind:
    """The engine that a command line starts, also inside a container or a shell's words; else `command`."""
    words = _WORD.findall(text)
    for word, following in pairwise((*words, "")):
        program = word.rpartition("/")[2].lower().removesuffix(".exe")
        if program == "llama-server":
            return EngineKind.LLAMACPP
        if (kind := _SERVERS.get((program, following))) is not None:
            return kind
        for part, kind in _IMAGES:
            if part in word:
                return kind
        for module, kind in _MODULES:
            if word.startswith(module):
                return kind
    return EngineKind.COMMAND


def task_of(text: str, engine: EngineKind) -> Task | None:
    """What its flags say that it is for; None where they do not."""
    words = _words(text)
    flags = {*words, *(f"{word}={value}" for word, value in pairwise(words))}
    return next((task for flag, task in _TASKS.get(engine, {}).items() if flag in flags), None)


def served_name_of(text: str, engine: EngineKind, name: str) -> str | None:
    """The name that a vLLM goes by, where that is not the model's own: it answers 404 to any other."""
    if engine is not EngineKind.VLLM:
        return None
    words = _words(text)
    names = _values(words, _SERVED) or _values(words, "--model")[:1] or _served_weights(words)
    return names[0] if names and name not in names else None


def api_key_of(cmd: Node, engine: EngineKind, env: Mapping[str, Node]) -> Node | None:
    """The key that the engine asks for: clients' own are not sent on to it. Of several the first."""
    if engine not in _KEY_VARIABLES:
        return None
    words = split(Faults(), cmd)
    flags = [word.text.partition("=") for word in words]
    for index, (flag, equals, _) in reversed(tuple(enumerate(flags))):
        if flag.replace("_", "-") == _KEY and (equals or index + 1 < len(words)):
            return _first(words[index] if equals else words[index + 1], after_equals=bool(equals))
    return env.get(_KEY_VARIABLES[engine])


def _first(word: Node, *, after_equals: bool) -> Node:
    """A key out of `--api-key=KEY`, or out of `KEY,KEY`."""
    text, source = word.text, word.source
    if after_equals:
        text, source = text.partition("=")[2], source.partition("=")[2]
    if "," in text:
        text, source = text.partition(",")[0], ""
    return replace(word, value=text, text=text, source=source if "${env:" in source else "", secret=True)


def _served_weights(words: Sequence[str]) -> list[str]:
    """What stands right after `serve`."""
    after = [words[index + 1] for index, word in enumerate(words[:-1]) if word == "serve"]
    return [word for word in after[:1] if not word.startswith("-")]


def _values(words: Sequence[str], flag: str) -> list[str]:
    """The values of a flag, of its last use."""
    found: list[str] = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") != flag:
            continue
        rest = words[index + 1 :]
        end = next((place for place, other in enumerate(rest) if other.startswith("-")), len(rest))
        found = [value] if equals else list(rest[:end])
    return found


def warn_if_sleepless(faults: Faults, cmd: Node, engine: EngineKind, env: dict[str, Node]) -> None:
    """The engines can only be put to sleep if they were started for it."""
    text = str(cmd.value)
    words = _words(text)
    flag = _SLEEP_FLAGS.get(engine)
    if flag is not None and flag not in text.replace("_", "-"):
        message = f"has no {flag}, so this engine cannot free its memory when it is put to sleep"
        faults.add(cmd, message, f"Add {flag} to cmd.", severity="warning")
    if engine is not EngineKind.VLLM or f"{_DEVELOPMENT}=1" in text:
        return
    value = env.get(_DEVELOPMENT)
    is_direct = bool(words) and engine_of(" ".join(words[:4])) is engine and "run" not in words[:2]
    if value is None and not is_direct:
        message = f"hands no {_DEVELOPMENT}=1 on to vLLM, without which it has no /sleep"
        faults.add(cmd, message, f"Write it into cmd (docker run -e {_DEVELOPMENT}=1).", severity="warning")
    elif value is not None and value.text != "1":
        message = f"{_DEVELOPMENT} is not 1, so vLLM has no /sleep"
        faults.add(value, message, f"Write {_DEVELOPMENT}=1.", severity="warning")


def _words(text: str) -> list[str]:
    try:
        return split_words(text)
    except ValueError:  # said where the command is read
        return []
