"""Sizes and durations as people write them: `80GiB`, `5m`, `never`.

Pure parsing and printing. Raises ValueError with a sentence that says what to write instead.
Called by the config's types, the CLI and every message that shows a number of bytes or seconds.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

STRICT = {"extra": "forbid", "use_attribute_docstrings": True}
"""How pydantic reads a dataclass of the configuration: no unknown key, texts under fields are their description."""

_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(value: Any) -> Any:
    """Bytes from `512`, `64MiB`, `1.5 GB` (GB = 10^9, GiB = 2^30). Other types pass for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write it like 80GiB, 512MB or a number of bytes")
    number, power, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])


def parse_duration(value: Any) -> Any:
    """Seconds from `90`, `1.5s`, `5m`, `1h30m`, `250ms`; `never` is None. Other types pass on."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text == "never":
        return None
    if re.fullmatch(r"\d+(\.\d+)?(e[-+]?\d{1,3})?", text):
        return float(text)
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text).strip():
        raise ValueError(f"{value!r} is not a duration; write it like 30s, 5m, 1h30m or never")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def exact_size(count: int) -> str:
    """`80 GiB`, `20 GB` or `1001`: the largest unit that leaves a whole number; reads back as exactly the same."""
    for power, name in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        for step, suffix in ((1024, "iB"), (1000, "B")):
            if 0 < count < 2**53 and count % step**power == 0:
                return f"{count // step**power} {name}{suffix}"
    return str(count)


def exact_duration(seconds: float | None) -> str:
    """`5m`, `250ms`, `never`: reads back as exactly the same number of seconds."""
    if seconds is None:
        return "never"
    if seconds == 0:
        return "0s"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds % length == 0 and seconds < 2**53:
            return f"{int(seconds // length)}{unit}"
    for text in (f"{round(seconds * 1000)}ms", f"{seconds!r}s"):
        if _is_written(text, seconds):
            return text
    return repr(seconds)


def _is_written(text: str, seconds: float) -> bool:
    """Whether it reads back as the same; `1e-07s` is no duration."""
    try:
        return bool(parse_duration(text) == seconds)
    except ValueError:
        return False


def format_size(count: int) -> str:
    """`61.2 GiB`: bytes for a human reader."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def format_duration(seconds: float) -> str:
    """`412 s`, `6m 52s`, `2h 05m`: seconds for a human reader."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def counted(number: int, noun: str, *verb: str) -> str:
    """`1 request`, `2 requests`; with a verb's two forms `1 request waits`, `2 requests wait`."""
    one = number == 1
    return f"{number} {noun}{'' if one else 's'}" + (f" {verb[0 if one else 1]}" if verb else "")


def _schema(description: str, example: str) -> WithJsonSchema:
    pattern = {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}
    return WithJsonSchema({**pattern, "description": description, "examples": [example]})


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0), _schema("a size in bytes", "80GiB")]
Duration = Annotated[
    float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False), _schema("a duration", "5m")
]
PositiveDuration = Annotated[_Positive, BeforeValidator(parse_duration), _schema("a duration above zero", "5m")]
"""For waits that would make no sense as zero."""
MaybeDuration = Annotated[_Positive | None, BeforeValidator(parse_duration), _schema("a duration, or `never`", "5m")]
"""`never` is None; zero is refused, because some programs mean "at once" by it and others "never"."""
Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Measured against others of its kind."""
Count = Annotated[int, Field(ge=1)]
"""How many of something there may be: one or more."""
Natural = Annotated[int, Field(ge=0)]
MAX_REPLICAS = 64
ReplicaCount = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
"""How many replicas a model may have where only their number is written."""
Port = Annotated[int, Field(ge=1, le=65535)]
BindPort = Annotated[int, Field(ge=0, le=65535)]
"""0 lets the system pick a free one."""
