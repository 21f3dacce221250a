"""How many devices an engine takes at once, as its own arguments say.

Pure; called by `finish`, so that everybody after it reads `device_count` alone.
"""

from collections.abc import Iterator, Mapping, Sequence

from roost.core.spec import EngineKind, ModelSpec

_TENSOR = frozenset({"--tensor-parallel-size", "--tp-size"})
_PIPELINE = frozenset({"--pipeline-parallel-size", "--pp-size"})
_FLAGS: Mapping[EngineKind, tuple[frozenset[str], ...]] = {
    EngineKind.VLLM: (
        _TENSOR | {"-tp"},
        _PIPELINE | {"-pp"},
        frozenset({"--data-parallel-size", "-dp", "--data-parallel-size-local"}),
    ),
    EngineKind.SGLANG: (_TENSOR | {"--tp"}, _PIPELINE | {"--pp"}),
    EngineKind.COMMAND: (_TENSOR, _PIPELINE),
}
_SPLIT, _MODE = frozenset({"-ts", "--tensor-split"}), frozenset({"-sm", "--split-mode"})


def devices_taken(model: ModelSpec) -> int | None:
    """None where the arguments do not say. Of a flag that stands there twice the last one counts."""
    command = (model.command,) if isinstance(model.command, str) else model.command or ()
    words = [*command, *model.args]
    if model.engine is EngineKind.LLAMACPP:
        return _llamacpp(words)
    flags = _FLAGS.get(model.engine or EngineKind.COMMAND)
    if flags is None:
        return None
    taken, said = 1, False
    for names in flags:
        value = last_of(words, names)
        if value is not None and value.isdigit() and int(value) > 0:
            taken, said = taken * int(value), True
    return taken if said else None


def _llamacpp(words: Sequence[str]) -> int | None:
    if last_of(words, _MODE) == "none":
        return 1
    shares = last_of(words, _SPLIT)
    return None if shares is None else len([share for share in shares.replace("/", ",").split(",") if share.strip()])


def last_of(words: Sequence[str], names: frozenset[str]) -> str | None:
    """The value of the last of these flags; None where none of them stands there."""
    found = None
    for name, value in _pairs(words):
        if name.replace("_", "-") in names:
            found = value
    return found


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`--name value` and `--name=value`."""
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if sign:
            yield name, value
        elif index + 1 < len(words):
            yield word, words[index + 1]
