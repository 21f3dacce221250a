"""Which of two forms a client would rather have, by its Accept header (RFC 9110 §12.5.1). Pure; used by `public`."""

import re

_QUALITY = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def prefers_text(accept: str, *, otherwise: bool = False) -> bool:
    """True if text/plain ranks above application/json; `otherwise` without a header, and where both rank the same."""
    ranges = [read for part in accept.split(",") if (read := _read(part)) is not None]
    text, json = _rank(ranges, "text/plain"), _rank(ranges, "application/json")
    return otherwise if text == json else text > json


def _read(part: str) -> tuple[str, float] | None:
    """A media range and its quality; None for what is not well formed."""
    media, *parameters = (piece.strip() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter[:1].lower() != "q" or parameter[1:].lstrip()[:1] != "=":
            continue
        match = _QUALITY.fullmatch(parameter)
        if match is None:
            return None
        quality = float(match[1])
    return media.lower(), quality


def _rank(ranges: list[tuple[str, float]], media: str) -> float:
    """The quality that the most precise fitting range gives."""
    for wanted in (media, media.partition("/")[0] + "/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
