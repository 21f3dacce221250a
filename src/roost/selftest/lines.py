"""What a self-test says: one line per check, and the whole of them.

Pure values. Made by `visit`, shown by the CLI.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be made: the key may not, the engine cannot, or what it builds on failed."""


MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.SKIPPED: "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is asked, and what is expected."""

    name: str
    expected: str
    model: str | None = None

    @property
    def title(self) -> str:
        return self.name if self.model is None else f"{self.model}: {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One check with its verdict. `came` is what was seen, or why it was skipped; empty if there is nothing to add."""

    check: Check
    verdict: Verdict
    came: str

    def __str__(self) -> str:
        """One line of printable characters, whatever servers and engines wrote."""
        return " ".join("".join(sign if sign.isprintable() else " " for sign in self._text()).split())

    def _text(self) -> str:
        mark, title, expected = MARKS[self.verdict], self.check.title, self.check.expected
        match self.verdict:
            case Verdict.PASSED:
                return f"{mark} {title}: {expected}" + (f" ({self.came})" if self.came else "")
            case Verdict.FAILED:
                return f"{mark} {title}: expected {expected}; came {self.came}"
            case Verdict.SKIPPED:
                return f"{mark} {title}: skipped: {self.came}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole self-test."""

    url: str
    took_s: float
    lines: tuple[Line, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(line.verdict is verdict for line in self.lines)

    @property
    def good(self) -> bool:
        return not self.count(Verdict.FAILED) and self.count(Verdict.PASSED) > 0

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict)
        return f"{self.url}: {counts} in {self.took_s:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "url": self.url,
            "success": self.good,
            "took_s": round(self.took_s, 3),
            **{str(verdict): self.count(verdict) for verdict in Verdict},
            "checks": [{**asdict(line.check), "verdict": str(line.verdict), "came": line.came} for line in self.lines],
        }
