#!/usr/bin/env python3
"""Measures proxies side by side before one fake backend: see README.md.

python bench/proxies.py [--install] [--only nginx,vllm-router,roost] [--cells c32,s256] [--rounds 5] [--secs 3]

Owns the order of things: rounds, within a round the cells, within a cell the proxies one after the other, so that
what is compared lies seconds apart. Writes bench/results/TIME.json and TIME.md after every round.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from parts import cells, home, machine, peers, report
from parts.fleet import Fleet, Running


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description="Measure proxies side by side before one fake backend.")
    p.add_argument("--only", help=f"proxies, by commas (default: {','.join(peers.USUAL)}); direct is always there")
    p.add_argument("--cells", help=f"loads, by commas, out of {','.join(cells.CELLS)} (default: all)")
    p.add_argument("--rounds", type=int, default=5, help="default 5")
    p.add_argument("--secs", type=float, default=3.0, help="length of a measured window (default 3)")
    p.add_argument("--peers", type=Path, help="JSON file that adds or replaces proxies: name -> cmd, port, env, ...")
    p.add_argument("--subject", default="roost", help="the proxy that the targets are for (default roost)")
    p.add_argument("--install", action="store_true", help="install missing peers by pip or apt-get first")
    p.add_argument("--unpinned", action="store_true", help="let everything use every core")
    p.add_argument("--cores", default="0,1", help="core of backend and load, core of the proxy (default 0,1)")
    p.add_argument(
        "--quiet", type=float, default=0.15, help="CPU of others, in cores, above which a sample is disturbed"
    )
    p.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="NICE",
        help="such as -10: first where others share the machine (root)",
    )
    return p.parse_args()


def pinning(args: argparse.Namespace) -> machine.Pinning:
    """Which side gets which core; with one core nothing is pinned."""
    available = os.sched_getaffinity(0)
    load, proxy = (int(c) for c in args.cores.split(","))
    if args.unpinned or not {load, proxy} <= available:
        return machine.Pinning(None, None)
    os.sched_setaffinity(0, {load})
    return machine.Pinning(load, proxy)


def chosen(args: argparse.Namespace, known: dict[str, peers.Maker]) -> list[str]:
    """The proxies to measure, direct first; unknown names end the run."""
    file = list(json.loads(args.peers.read_text())) if args.peers else []
    names = args.only.split(",") if args.only else [*peers.USUAL, *(n for n in file if n not in peers.USUAL)]
    unknown = [n for n in names if n != peers.DIRECT and n not in known]
    if unknown:
        raise SystemExit(f"No such proxy: {', '.join(unknown)}. There are: {', '.join(sorted(known))}.")
    return [peers.DIRECT, *(n for n in names if n != peers.DIRECT)]


def chosen_cells(args: argparse.Namespace) -> list[cells.Cell]:
    """The loads to run, in the table's order; unknown names end the run."""
    names = args.cells.split(",") if args.cells else list(cells.CELLS)
    unknown = [n for n in names if n not in cells.CELLS]
    if unknown:
        raise SystemExit(f"No such cell: {', '.join(unknown)}. There are: {', '.join(cells.CELLS)}.")
    return [c for c in cells.CELLS.values() if c.name in names]


class Run:
    """One run of the bench: its samples, what was skipped and why, and where the results go."""

    def __init__(self, args: argparse.Namespace, names: list[str]) -> None:
        self.args, self.names = args, names
        self.samples: list[cells.Sample] = []
        self.skipped: dict[str, str] = {}
        self.lost: list[str] = []
        self.versions: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.stem = home.BENCH / "results" / time.strftime("%Y-%m-%d-%H%M%S")
        self.began = time.strftime("%Y-%m-%d %H:%M:%S")

    def start_all(self, fleet: Fleet, number: int) -> None:
        """Starts every proxy that can be had. One that never came up is left out of the whole run, with a word why."""
        for name in self.names:
            if name in self.skipped:
                continue
            try:
                peer = fleet.start(name).peer
                self.versions[name], self.settings[name] = peer.version, peer.setting
            except home.Unavailable as e:
                if name in self.versions:
                    self.lose(f"round {number + 1}, {name}: {e}")
                else:
                    self.skipped[name] = str(e)
                    print(f"skipped {name}: {e}", flush=True)

    def lose(self, what: str) -> None:
        """Notes samples that could not be taken: the report shows them, they are part of the result."""
        self.lost.append(what)
        print(f"lost: {what}", flush=True)

    def round(self, fleet: Fleet, number: int, loads: list[cells.Cell]) -> None:
        """One round; the order of the proxies turns with the round, so that none always follows the same one."""
        self.start_all(fleet, number)
        order = list(fleet.running)
        order = order[number % len(order) :] + order[: number % len(order)]
        for cell in loads:
            for name in order:
                if name in fleet.running:
                    self.one(fleet, fleet.running[name], cell, number)
        fleet.end_proxies()

    def one(self, fleet: Fleet, running: Running, cell: cells.Cell, number: int) -> None:
        """One sample, shown as it comes. A proxy that dies under a load is out for the rest of the round."""
        if running.peer.cells is not None and cell.name not in running.peer.cells:
            return
        try:
            sample = cells.take(fleet, running, cell, self.args.secs)
            self.samples.append({**sample, "round": number})
            self.show(sample, cell, number)
            fleet.settle(running)
        except (home.Unavailable, OSError) as e:
            self.lose(f"round {number + 1} from {cell.name} on, {running.name}: {e}")
            gone = fleet.running.pop(running.name, None)
            if gone and gone.child:
                machine.end(gone.child)

    def show(self, sample: cells.Sample, cell: cells.Cell, number: int) -> None:
        """One sample as a line on the terminal."""
        cost = f"{sample['cpu_us']:8.1f} µs" if sample["cpu_us"] else " " * 11
        noise = f"  others {sample['other_cpu']:.2f} cores" if sample["other_cpu"] > self.args.quiet else ""
        speed = sample["chunks_s"] if cell.stream else sample["rps"]
        bad = "  ERRORS" if sample["failed"] else ""
        print(f"round {number + 1} {cell.name:6} {sample['peer']:14} {speed:9.0f}/s {cost}{noise}{bad}", flush=True)

    def markdown(self) -> str:
        """The table, the targets and what must be known to read them."""
        all_samples = report.Samples(self.samples, self.args.quiet)
        measured = [n for n in self.names if any(s["peer"] == n for s in self.samples)]
        noisy = sum(all_samples.disturbed(s) for s in self.samples)
        rounds = len({s["round"] for s in self.samples})
        known = [
            f"{n} {v}: {self.settings[n]}".strip(": ") + "." for n, v in self.versions.items() if n != peers.DIRECT
        ]
        pinned = "nothing pinned" if self.args.unpinned else f"cores {self.args.cores} (backend and load, proxy)"
        notes = [
            f"{self.began}; {machine.describe()}; {pinned}; {rounds} rounds of {self.args.secs:g} s; "
            "medians (min–max).",
            f"{noisy} of {len(self.samples)} samples were disturbed by other processes (over {self.args.quiet:g} "
            "cores): left out where at least half of the rounds remain, else the figure is marked ~. "
            "! marks errors or answers other than 200.",
            *known,
            *(f"Skipped: {why}." for why in self.skipped.values()),
            *(f"Lost: {what}." for what in self.lost),
        ]
        parts = ["\n".join(f"- {n}" for n in notes), report.table(all_samples, measured)]
        if self.args.subject in measured:
            parts.append(report.targets_table(all_samples, self.args.subject))
        return "\n\n".join(parts) + "\n"

    def save(self) -> None:
        """Writes both files; called after each round, so that a run that is cut short leaves its rounds."""
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        all_samples = report.Samples(self.samples, self.args.quiet)
        content: dict[str, Any] = {
            "began": self.began,
            "machine": machine.describe(),
            "arguments": {k: str(v) for k, v in vars(self.args).items()},
            "versions": self.versions,
            "settings": self.settings,
            "skipped": self.skipped,
            "lost": self.lost,
            "targets": report.judged(all_samples, self.args.subject),
            "samples": self.samples,
        }
        self.stem.with_suffix(".json").write_text(json.dumps(content, indent=1))
        self.stem.with_suffix(".md").write_text(self.markdown())


def install_missing(names: list[str]) -> None:
    """--install: gets what is missing; what cannot be had is said and later skipped."""
    for name in names:
        wanted = "nginx" if name == "nginx-nolog" else name
        if wanted in home.FROM_PIP or wanted in home.FROM_APT:
            try:
                home.install(wanted)
            except home.Unavailable as e:
                print(e, flush=True)


def main() -> None:
    """Runs the bench and prints the table."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    known = peers.makers(args.peers)
    names, loads = chosen(args, known), chosen_cells(args)
    if args.install:
        install_missing(names)
    machine.prepare(args.priority)
    run = Run(args, names)
    try:
        with Fleet(pinning(args), known) as fleet:
            for number in range(args.rounds):
                run.round(fleet, number, loads)
                run.save()
    except KeyboardInterrupt:
        print("cut short", flush=True)
    if run.samples:
        print("\n" + run.markdown() + f"\nWritten to {run.stem}.md and .json")


if __name__ == "__main__":
    main()
