"""How large a model's weights are on this machine's disk, and what the head of a GGUF file says of it.

Reads sizes and at most the first megabytes of one file. What is not local, or not readable, is None: a footprint is
then learned. Called by `footprints`, in a thread where it can be.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from roost.engines.estimate import GgufFacts

_PART = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf", re.IGNORECASE)
_SUFFIXES = frozenset({".safetensors", ".bin", ".gguf", ".pt", ".pth"})
_MOST_KEYS = 4096
_MOST_TEXT = 1 << 20
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9


def size_of(weights: str | None) -> int | None:
    """Bytes of a file (with the other parts of a split one) or of the weights in a folder."""
    if weights is None or not weights.startswith("/"):
        return None
    place = Path(weights)
    try:
        if place.is_dir():
            return _of_folder(place) or None
        return sum(part.stat().st_size for part in _parts(place))
    except OSError:
        return None


def _of_folder(folder: Path) -> int:
    """One format only: folders often hold the same weights twice."""
    sizes: dict[str, int] = {}
    for file in folder.iterdir():
        if file.suffix in _SUFFIXES and file.is_file():
            sizes[file.suffix] = sizes.get(file.suffix, 0) + file.stat().st_size
    return sizes.get(".safetensors") or max(sizes.values(), default=0)


def _parts(file: Path) -> list[Path]:
    match = _PART.fullmatch(file.name)
    return [file] if match is None else sorted(file.parent.glob(f"{_escaped(match[1])}-*-of-{match[2]}.gguf"))


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def gguf_facts(weights: str | None) -> GgufFacts | None:
    """None for what is no local GGUF file, or one whose head does not say."""
    if weights is None or not weights.startswith("/") or not weights.lower().endswith(".gguf"):
        return None
    try:
        with Path(weights).open("rb") as file:
            return _facts(dict(_head(file)))
    except (OSError, ValueError, struct.error):
        return None


def _facts(head: dict[str, object]) -> GgufFacts | None:
    kind = head.get("general.architecture")

    def whole(name: str) -> int | None:
        value = head.get(f"{kind}.{name}")
        return value if isinstance(value, int) else None

    layers, width, heads = whole("block_count"), whole("embedding_length"), _each(head, f"{kind}.attention.head_count")
    if not layers or not width or not heads:
        return None
    kv_heads = _each(head, f"{kind}.attention.head_count_kv") or heads
    per_layer = kv_heads if len(kv_heads) == layers else kv_heads[:1] * layers
    size = width // max(1, max(heads))
    keys, values = whole("attention.key_length") or size, whole("attention.value_length") or size
    return GgufFacts(
        layers=layers, kv_numbers_per_token=sum(per_layer) * max(keys, values), context=whole("context_length")
    )


def _each(head: dict[str, object], key: str) -> list[int]:
    """One number for all layers, or one for each."""
    value = head.get(key)
    if isinstance(value, list):
        return [one for one in value if isinstance(one, int)]
    return [value] if isinstance(value, int) else []


def _head(file: BinaryIO) -> Iterator[tuple[str, object]]:
    """The file's keys up to the tokenizer's, which are long and come after the model's own. Raises ValueError."""
    if file.read(4) != b"GGUF" or _one(file, "I") not in (2, 3):
        raise ValueError("no GGUF file of a version that is known")
    _one(file, "Q")
    for _ in range(min(_count(file), _MOST_KEYS)):
        key = _text(file)
        if key.startswith("tokenizer."):
            return
        yield key, _value(file, _count(file, "I"))


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _TEXT:
        return _text(file)
    if kind != _LIST:
        return _one(file, _FORMS.get(kind, ""))
    inner, count = _count(file, "I"), _count(file)
    if count > _MOST_KEYS:
        raise ValueError("a list too long for the head of a model")
    return [_value(file, inner) for _ in range(count)]


def _text(file: BinaryIO) -> str:
    length = _count(file)
    if length > _MOST_TEXT:
        raise ValueError("a text too long for the head of a model")
    return file.read(length).decode("utf-8", "replace")


def _count(file: BinaryIO, form: str = "Q") -> int:
    value = _one(file, form)
    assert isinstance(value, int)
    return value


def _one(file: BinaryIO, form: str) -> object:
    if not form:
        raise ValueError("a kind of value that is not known")
    found: object = struct.unpack(f"<{form}", file.read(struct.calcsize(form)))[0]
    return found
