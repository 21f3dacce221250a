"""A problem: one thing wrong with what a user gave us, with its place and the way out.

Pure values. Made by `config` and `engines.validate`, merged by `app`, printed by `cli`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

STEP_LISTS = frozenset({"sleep_steps", "wake_steps"})
"""Keys that hold the steps of a model."""
ConfigPath = tuple[str | int, ...]
"""Where in the config: ("models", "a", "args", 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault. `hint` says what to write instead; `line` is 1-based and None where no line is known."""

    path: ConfigPath
    message: str
    hint: str = ""
    line: int | None = None
    value: str | None = None
    severity: str = "error"  # or "warning"
    file: str = ""
    """Where the configuration has several files: the one that `line` is a line of."""

    def render(self, file: str) -> str:
        """`roost.yaml:12: models.a.sleep_after: "5 parsecs" is not a duration; write 5m`."""
        file = self.file or file
        place = f"{file}:{self.line}" if self.line is not None else file
        where = ".".join(str(part) for part in self.path) + self._step()
        text = f"{place}: {'warning: ' if self.severity == 'warning' else ''}"
        text += f"{where}: {self.message}" if where else self.message
        return f"{text}. {self.hint}" if self.hint else text

    def _step(self) -> str:
        """Which step it is as `if.step` and the log count them; a path counts from 0."""
        numbers = (part for above, part in pairwise(self.path) if above in STEP_LISTS and isinstance(part, int))
        return "".join(f" (step {number + 1})" for number in numbers)


def has_errors(problems: Iterable[Problem]) -> bool:
    """True if any of them keeps the config from being used."""
    return any(problem.severity == "error" for problem in problems)
