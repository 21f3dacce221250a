"""The `model` field of a multipart form (audio and image requests), without decoding the rest. Pure."""

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE | re.MULTILINE)
MAX_PARTS = 256


@dataclass(frozen=True, slots=True)
class Field:
    """A text field and where its value stands in the body."""

    value: str
    start: int
    stop: int


class BadForm(ValueError):
    """A form that cannot be read; the text says why."""


def form_field(body: bytes, content_type: bytes, name: str) -> Field | None:
    """The field called `name`; None if there is none. Raises BadForm for a broken form or a field given twice."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadForm("the multipart Content-Type names no boundary")
    delimiter = b"--" + (found[1] or found[2])
    result: Field | None = None
    for start, stop in _parts(body, delimiter):
        head_end = body.find(b"\r\n\r\n", start, stop)
        label = _NAME.search(body, start, head_end) if head_end >= 0 else None
        if label is None or label[1].decode("utf-8", "replace") != name:
            continue
        if result is not None:
            raise BadForm(f"the form field {name!r} stands twice")
        value = body[head_end + 4 : stop]
        result = Field(value.decode("utf-8", "replace").strip(), head_end + 4, stop)
    return result


def _parts(body: bytes, delimiter: bytes) -> list[tuple[int, int]]:
    at = body.find(delimiter)
    if at < 0:
        raise BadForm("the form's boundary does not occur in its body")
    parts: list[tuple[int, int]] = []
    while True:
        start = at + len(delimiter)
        if body.startswith(b"--", start):
            return parts
        at = body.find(b"\r\n" + delimiter, start)
        if at < 0:
            raise BadForm("the form does not end with its closing boundary")
        parts.append((start + 2, at))
        at += 2
        if len(parts) > MAX_PARTS:
            raise BadForm(f"a form of more than {MAX_PARTS} parts")
