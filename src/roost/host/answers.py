"""What an engine answered to a step, and whether it is what it should be. Pure; called by `steps` and whoever checks an
answer as a step would.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.core import places
from roost.core.step import Expect

VALUE_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from a step, as later conditions may look at it."""

    status: int
    body: bytes

    def json(self) -> tuple[bool, Any]:
        """(whether it is JSON, the decoded body)."""
        try:
            return True, json.loads(self.body)
        except (ValueError, RecursionError):
            return False, None


def status_fits(status: int, allowed: tuple[int, ...]) -> bool:
    """Whether a status means success; none named: any 2xx."""
    return status in allowed if allowed else 200 <= status < 300


def lacks(answer: Answer, expect: Expect | None) -> str:
    """What the body does not hold of what it should; empty if it holds all of it."""
    if expect is None:
        return ""
    if expect.text is not None and expect.text not in answer.body.decode("utf-8", "replace"):
        return f'its body does not hold "{expect.text[:VALUE_SHOWN]}"'
    if expect.at is None and expect.json is None:
        return ""
    is_json, body = answer.json()
    if expect.optional and not (is_json and expect.at is not None and places.find(body, expect.at)[0]):
        return ""
    if not is_json:
        return "its body is not JSON"
    if expect.at is not None and (wrong := _differs(body, expect.at, expect.equals)):
        return wrong
    if expect.json is not None and not holds(body, expect.json):
        return f"its body does not hold {_shown(expect.json)}"
    return ""


def _differs(body: object, place: str, wanted: object) -> str:
    try:
        found, value = places.find(body, place)
    except ValueError as error:
        return str(error)
    if not found:
        return f"its body has no {place}"
    if wanted is not None and not _same(value, wanted):
        return f"{place} is {_shown(value)}, not {_shown(wanted)}"
    return ""


def holds(body: object, wanted: object) -> bool:
    """Whether every key and entry of `wanted` is in `body`, at any depth; entries of a list in any order."""
    if isinstance(wanted, Mapping):
        if not isinstance(body, Mapping):
            return False
        return all(key in body and holds(body[key], value) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(body, list) and all(any(holds(entry, one) for entry in body) for one in wanted)
    return _same(body, wanted)


def _same(one: object, other: object) -> bool:
    """JSON's equality: true is not 1; the config's tuples are lists."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one == other


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}..."
