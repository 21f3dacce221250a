"""One self-test under way: whom it talks to, which models it found, what it sent, what it has to say so far.

Owns the lines. The only place that turns an answer into a verdict. Called by all checks.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from roost.core.spec import Task
from roost.selftest.lines import Check, Line, Verdict
from roost.selftest.talk import Got, Talk


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it was found."""

    name: str
    state: str
    task: Task

    @property
    def encoded(self) -> str:
        """The name as one segment of a path."""
        return quote(self.name, safe="")

    @property
    def raw(self) -> str:
        """The name with its slashes as they are."""
        return quote(self.name, safe="/")


@dataclass(slots=True, kw_only=True)
class Visit:
    """What the checks share."""

    talk: Talk
    hear: Callable[[Line], None]
    """Told of each line as soon as it is there."""
    pause: Callable[[float], None]
    """Waits so many seconds between two looks."""
    listed: tuple[Model, ...] = ()
    """All that the router lists."""
    models: tuple[Model, ...] = ()
    """Those to be tested."""
    lines: list[Line] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    """Requests per model."""
    answered: Counter[str] = field(default_factory=Counter)
    """Those of them that were answered with 200."""

    works: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Per model: path and body of a request that it has answered."""
    shared: set[str] = field(default_factory=set)
    """Models that other clients use meanwhile."""

    def infer(self, model: Model, path: str, body: Mapping[str, Any]) -> Got:
        """A request to a model, counted."""
        got = self.talk.infer(path, {"model": model.name, **body})
        self.sent[model.name] += 1
        self.answered[model.name] += got.status == 200
        return got

    def judge(self, check: Check, got: Got, fault: str | None, came: str = "") -> bool:
        """The line for an answer: skipped where the key may not ask, else failed with its fault, else passed."""
        if got.denied:
            return self.skip(check, got.said)
        return self.settle(check, fault, came)

    def settle(self, check: Check, fault: str | None, came: str = "") -> bool:
        """Passed without a fault, failed with one."""
        verdict = Verdict.PASSED if fault is None else Verdict.FAILED
        self._say(Line(check=check, verdict=verdict, came=came if fault is None else fault))
        return fault is None

    def skip(self, check: Check, reason: str) -> bool:
        self._say(Line(check=check, verdict=Verdict.SKIPPED, came=reason))
        return False

    def _say(self, line: Line) -> None:
        self.lines.append(line)
        self.hear(line)
