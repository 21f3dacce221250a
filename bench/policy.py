#!/usr/bin/env python3
"""Compares policies on a trace of real requests, in simulated time, by the planner itself: see README.md.

python bench/policy.py [--quick] [--jobs N] [--trace FILE ...] [--seeds 5] [--days 14] [--only NAMES] [--no-plots]

Writes bench/results/policy.json (after each run: --resume goes on from there) and policy.md, and docs/policy-*.png with
docs/policy-figures.md.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import policy_stage as stages
import policy_table as table

from roost.planner.rehearse import rehearse

HERE = Path(__file__).resolve().parent
TRACE = HERE / "traces" / "servegen-14d.csv.gz"
QUICK_DAYS = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a seed, a budget, a policy."""

    traces: tuple[Path, ...]
    seed: int
    days: float
    half: int | None
    share: float
    policy: str

    @property
    def stage(self) -> str:
        half = "" if self.half is None else f", half {self.half}"
        return " + ".join(path.name for path in self.traces) + half


def run(job: Job) -> table.Row:
    """Play it and keep the figures."""
    made = stages.models(job.traces, job.seed, job.days, job.half)
    (contender,) = stages.of([job.policy])
    stage = stages.stage(made, job.share, contender)
    began = time.process_time()
    record = rehearse(stage)
    took_s = time.process_time() - began
    return table.Row(
        stage=job.stage,
        seed=job.seed,
        days=job.days,
        share=job.share,
        policy=job.policy,
        requests=len(stage.arrivals),
        wait_s=record.total_wait_s,
        p99_s=record.quantile(0.99),
        room_s=record.room_s,
        rise_s=record.rise_s,
        queue_s=record.queue_s,
        refused=len(record.refused),
        wakes=record.wakes,
        loads=record.loads,
        evictions=record.evictions,
        idled=record.idled,
        awake_gib_s=record.awake_byte_s / stages.GIB,
        rounds=record.rounds,
        took_s=took_s,
        speed=record.ended_s / took_s,
    )


def jobs(asked: argparse.Namespace) -> list[Job]:
    """All runs, those of a seed together: they share its arrivals."""
    days = QUICK_DAYS if asked.quick else asked.days
    seeds = 1 if asked.quick else asked.seeds
    traces = tuple(asked.trace or [TRACE])
    return [
        Job(traces, seed, days, asked.half, share, contender.name)
        for seed in range(asked.first_seed, asked.first_seed + seeds)
        for share in asked.budgets
        for contender in stages.of(asked.only)
    ]


def _names(text: str) -> list[str]:
    known = [contender.name for contender in stages.CONTENDERS]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is no policy of the bench; known: {', '.join(known)}")
    return names


def _shares(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two days")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--trace", type=Path, action="append", help="a file of the same form; may be repeated")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=14.0)
    parser.add_argument("--half", type=int, choices=(0, 1), help="only every second client, from this one")
    parser.add_argument(
        "--budgets", type=_shares, default=list(stages.BUDGETS), help="parts of what is asked for at a time"
    )
    parser.add_argument("--only", type=_names, default=[], help="policies, by comma")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the results have already")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the tables")
    parser.add_argument("--plots", type=Path, default=HERE.parent / "docs", help="folder of plots and page")
    parser.add_argument("--no-plots", action="store_true")
    return parser.parse_args()


def main() -> int:
    asked = _asked()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "policy.json"
    wanted = jobs(asked)
    rows = [table.Row(**row) for row in json.loads(kept.read_text())] if asked.resume and kept.exists() else []
    if any((row.stage, row.days) != (wanted[0].stage, wanted[0].days) for row in rows):
        sys.exit(
            f"{kept} holds runs of other traces or days, which would make no common sum: name another folder (--out)."
        )
    done = {(row.seed, row.share, row.policy) for row in rows}
    todo = [job for job in wanted if (job.seed, job.share, job.policy) not in done]
    with ProcessPoolExecutor(asked.jobs) as pool:
        for count, row in enumerate(pool.map(run, todo), 1):
            rows.append(row)
            kept.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
            print(f"{count}/{len(todo)} {row.line()}", file=sys.stderr, flush=True)
    text = table.markdown(rows)
    (asked.out / "policy.md").write_text(text)
    print(text)
    if not asked.no_plots:
        import policy_plot

        (asked.plots / "policy-figures.md").write_text(table.page(rows))
        for path in policy_plot.plots(rows, asked.plots):
            print(path)
    return 0 if all(met for _, met in table.targets(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
