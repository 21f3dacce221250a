"""Deterministic answers: words, vectors and JSON that follow from who answers, what was asked and whether the weights
are sound, so that a test can tell which engine answered and whether it was garbage.

Pure functions. Called by the handlers.
"""

import json
import struct
from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

_SOUND = (
    "amber bird cedar dawn ember field gale harbor iris jade kite lark maple north oak pine quiet river stone tide "
    "umber vale willow yarrow zephyr acorn brook cliff dune echo fern grove"
)
_BROKEN = "!!!! #@ xqz ~~ wvx %% qqj ^^ zzk ;;: vbx $$ jxq ]]"
WORDS, GARBAGE = _SOUND.split(), _BROKEN.split()
_CHUNK = 3
_DEPTH = 12
_DIMENSIONS = 32


def _digest(*parts: object) -> bytes:
    return blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=32).digest()


def word(key: str, index: int, *, garbage: bool = False) -> str:
    """The token at `index` of the answer to `key`, with its leading space."""
    words = GARBAGE if garbage else WORDS
    chosen = words[_digest(key, index)[0] % len(words)]
    return chosen if index == 0 else f" {chosen}"


def is_garbage(text: str) -> bool:
    """True if any word of the text came from weights that were not sound."""
    return not set(GARBAGE).isdisjoint(text.split())


def encode(text: str) -> list[int]:
    """Tokens of a text: three UTF-8 bytes each, with a leading 1 so that `decode` is exact."""
    raw = text.encode("utf-8", "surrogatepass")
    return [int.from_bytes(b"\x01" + raw[at : at + _CHUNK], "big") for at in range(0, len(raw), _CHUNK)]


def decode(tokens: list[int]) -> str:
    """The text of tokens; ids that `encode` never makes become nothing."""
    pieces = (token.to_bytes(_CHUNK + 1, "big").lstrip(b"\0")[1:] for token in tokens if 0 < token < 1 << 25)
    return b"".join(pieces).decode("utf-8", "replace")


def vector(key: str, dimensions: int | None = None) -> list[float]:
    """A unit vector that depends on `key` alone; values are exact 32-bit floats, as base64 clients see them."""
    size = dimensions or _DIMENSIONS
    raw = b"".join(_digest(key, "vector", block) for block in range(size // 16 + 1))
    numbers = [number / 32768 for number in struct.unpack(f"<{size}h", raw[: 2 * size])]
    length = sum(number * number for number in numbers) ** 0.5 or 1.0
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(number / length for number in numbers))))


def as_base64(numbers: list[float]) -> str:
    """Little-endian 32-bit floats in base64, as the OpenAI client asks for."""
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def score(key: str, query: str, document: str) -> float:
    """A relevance between 0 and 1: shared words count most, the hash breaks ties."""
    asked, given = set(query.lower().split()), set(document.lower().split())
    shared = len(asked & given) / max(len(asked), 1)
    return round(0.9 * shared + 0.1 * _digest(key, query, document)[0] / 256, 6)


def fitting(schema: Mapping[str, Any], key: str) -> str:
    """A JSON text that fits a JSON schema as far as types, required fields, enums and references go."""
    return json.dumps(_fit(schema, schema, key, 0))


def _fit(schema: Mapping[str, Any], root: Mapping[str, Any], key: str, depth: int) -> Any:
    if depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _fit(_referred(root, str(schema["$ref"])), root, key, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return _fit(schema[union][0], root, key, depth + 1)
    return _fit_type(schema, root, key, depth)


def _fit_type(schema: Mapping[str, Any], root: Mapping[str, Any], key: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            fields = schema.get("properties", {})
            return {name: _fit(part, root, f"{key}.{name}", depth + 1) for name, part in fields.items()}
        case "array":
            item = schema.get("items", {})
            size = max(1, int(schema.get("minItems", 1)))
            return [_fit(item, root, f"{key}.{index}", depth + 1) for index in range(min(size, 64))]
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return float(schema.get("minimum", 0.5))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return word(key, 0)


def _referred(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Any = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
