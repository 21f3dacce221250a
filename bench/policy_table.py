"""The figures of the policy benchmark: rows, their sums over the seeds, the targets, the Markdown.

Pure. Called by policy.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LRU, COST, AHEAD, REFERENCE = "lru", "cost", "cost + wake_ahead", "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run."""

    stage: str
    """The traces, and which half of their clients."""
    seed: int
    days: float
    share: float
    policy: str
    requests: int
    wait_s: float
    p99_s: float
    room_s: float
    rise_s: float
    queue_s: float
    refused: int
    wakes: int
    loads: int
    evictions: int
    idled: int
    awake_gib_s: float
    rounds: int
    took_s: float
    speed: float
    """Simulated seconds for each second of one core."""

    def line(self) -> str:
        """For whoever watches."""
        return (
            f"seed {self.seed} budget {self.share:.0%} {self.policy}: waited {self.wait_s / 3600:.2f} h, "
            f"{self.wakes} wakes, {self.loads} loads, {self.speed:,.0f} x real time"
        )


@dataclass(frozen=True, slots=True)
class Sum:
    """A policy at a budget, over all seeds."""

    wait_s: float
    p99_s: float
    refused: int
    wakes: int
    loads: int
    evictions: int
    awake_gib_s: float
    speed: float


Sums = dict[tuple[float, str], Sum]


def sums(rows: Sequence[Row]) -> Sums:
    """By budget and policy, over the seeds that every policy at that budget has; p99 and speed are means over them."""
    found: dict[tuple[float, str], dict[int, Row]] = {}
    for row in rows:
        found.setdefault((row.share, row.policy), {})[row.seed] = row
    made = {}
    for (share, policy), by_seed in found.items():
        common = set.intersection(*(set(other) for (at, _), other in found.items() if at == share))
        if common:
            made[share, policy] = _sum([by_seed[seed] for seed in sorted(common)])
    return made


def _sum(group: Sequence[Row]) -> Sum:
    return Sum(
        wait_s=sum(row.wait_s for row in group),
        p99_s=sum(row.p99_s for row in group) / len(group),
        refused=sum(row.refused for row in group),
        wakes=sum(row.wakes for row in group),
        loads=sum(row.loads for row in group),
        evictions=sum(row.evictions for row in group),
        awake_gib_s=sum(row.awake_gib_s for row in group),
        speed=sum(row.speed for row in group) / len(group),
    )


def ratio(found: Sums, share: float, policy: str, other: str) -> float | None:
    """How long requests waited beside another policy; None where one is missing."""
    mine, theirs = found.get((share, policy)), found.get((share, other))
    return None if mine is None or theirs is None or not theirs.wait_s else mine.wait_s / theirs.wait_s


def targets(rows: Sequence[Row]) -> list[tuple[str, bool]]:
    """Each target that can be judged by these rows, and whether it is met."""
    found = sums(rows)
    shares = sorted({row.share for row in rows})
    bounds = [(f"budget {share:.0%}: cost to lru", ratio(found, share, COST, LRU), 1.0) for share in shares]
    if len(shares) > 1:
        second, roomiest = shares[1], shares[-1]
        bounds += [
            (f"budget {second:.0%}: cost to lru", ratio(found, second, COST, LRU), 0.88),
            (f"budget {second:.0%}: cost to reference", ratio(found, second, COST, REFERENCE), 1.35),
            (f"budget {roomiest:.0%}: cost to lru", ratio(found, roomiest, COST, LRU), 0.77),
            (f"budget {roomiest:.0%}: cost to reference", ratio(found, roomiest, COST, REFERENCE), 1.7),
        ]
    for share in shares:
        bounds.append((f"budget {share:.0%}: wake_ahead to reference", ratio(found, share, AHEAD, REFERENCE), 1.15))
        bounds.append((f"budget {share:.0%}: GPU-seconds of wake_ahead to lru", _awake(found, share), 1.10))
    slowest = min((row.speed for row in rows), default=0.0)
    judged = [
        (f"{name} {value:.3f} (at most {bound})", value <= bound) for name, value, bound in bounds if value is not None
    ]
    return [*judged, (f"slowest run {slowest:,.0f} x real time (at least 20,000)", slowest >= 20_000)]


def _awake(found: Sums, share: float) -> float | None:
    mine, lru = found.get((share, AHEAD)), found.get((share, LRU))
    return None if mine is None or lru is None or not lru.awake_gib_s else mine.awake_gib_s / lru.awake_gib_s


def page(rows: Sequence[Row]) -> str:
    """The same as a page of the documentation."""
    days = max(row.days for row in rows)
    return (
        "# Figures of the policies\n\n"
        f"Made by `bench/policy.py` from the first {days:g} days of the trace; what is simulated and what was chosen "
        "is said in\n[its README](../bench/README.md#who-stays-awake), what a user can take from it in "
        "[Policies](policies.md#figures).\n\n"
        f"{markdown(rows)}"
    )


def markdown(rows: Sequence[Row]) -> str:
    """Table and targets."""
    found = sums(rows)
    seeds = len({row.seed for row in rows})
    requests = sum({row.seed: row.requests for row in rows}.values())
    lines = [
        f"{seeds} seed(s); {requests:,} requests for each policy and budget.",
        "",
        "| budget | policy | added wait | to lru | to reference | p99 | wakes | loads | evictions | refused "
        "| awake GiB·h | x real time |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (share, policy), total in sorted(found.items(), key=lambda item: item[0][0]):
        lines.append(
            f"| {share:.0%} | {policy} | {total.wait_s / 3600:.1f} h | {_times(ratio(found, share, policy, LRU))} "
            f"| {_times(ratio(found, share, policy, REFERENCE))} | {total.p99_s:.1f} s | {total.wakes:,} "
            f"| {total.loads:,} | {total.evictions:,} | {total.refused:,} | {total.awake_gib_s / 3600:,.0f} "
            f"| {total.speed:,.0f} |"
        )
    lines += ["", "| target | met |", "|---|---|"]
    lines += [f"| {sentence} | {'yes' if met else '**no**'} |" for sentence, met in targets(rows)]
    return "\n".join(lines) + "\n"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
