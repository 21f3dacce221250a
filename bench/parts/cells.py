"""The cells of the table: which loads there are, and how one sample of one proxy is taken.

Owns the list of cells and the reading of clocks and counters at the edges of the load generator's window.
Called by proxies.py. Never compares: that is report.py.
"""

# ruff: noqa: TID251  (a benchmark measures and waits for real time)

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from parts import home, machine
from parts.fleet import Fleet, Running


@dataclass(frozen=True, slots=True)
class Cell:
    """One load. Streams send `chunks` chunks, one every `gap_us`; `rate` makes it an open loop."""

    name: str
    title: str
    conns: int
    body_bytes: int = 1000
    rate: float = 0.0
    stream: bool = False
    gap_us: int = 0
    chunks: int = 1
    ramp_s: float = 0.0
    warm_s: float = 0.5
    longer: float = 1.0


CELLS = {
    c.name: c
    for c in (
        Cell("low", "100 req/s, open loop", 16, rate=100, warm_s=1, longer=3),
        Cell("c1", "1 connection", 1),
        Cell("c32", "32 connections", 32),
        Cell("c256", "256 connections", 256, ramp_s=0.5, warm_s=1),
        Cell("s32", "32 streams", 32, stream=True, gap_us=10_000, chunks=100, ramp_s=1, warm_s=1.3),
        Cell("s256", "256 streams", 256, stream=True, gap_us=10_000, chunks=100, ramp_s=1, warm_s=1.5),
        Cell("s1000", "1,000 streams", 1000, stream=True, gap_us=20_000, chunks=100, ramp_s=2, warm_s=2.5),
        Cell("p100k", "100 KB prompts, 16 connections", 16, body_bytes=100_000),
        Cell("p1m", "1 MB prompts, 16 connections", 16, body_bytes=1_000_000, warm_s=1),
    )
}

Sample = dict[str, Any]


@dataclass(slots=True)
class Edge:
    """Clocks at one edge of the window: wall, the proxy's CPU, the machine's, and ours (all that the bench runs)."""

    wall_s: float
    proxy_s: float
    busy_s: float
    ours_s: float


class Meter:
    """Reads the clocks for one sample; process ids are looked up once, before the load starts."""

    def __init__(self, fleet: Fleet, one: Running) -> None:
        one.pids = machine.tree(one.child.pid) if one.child else []
        self.proxy = one.pids
        self.ours = [*self.proxy, fleet.backend.child.pid]  # not the other proxies: if they stir, they disturb

    def read(self, load_s: float) -> Edge:
        """The clocks now; `load_s` is the load generator's own CPU so far."""
        wall, proxy = time.monotonic(), machine.cpu_s(self.proxy)
        return Edge(wall, proxy, machine.machine_busy_s(), machine.cpu_s(self.ours) + time.process_time() + load_s)


def _load_command(fleet: Fleet, one: Running, cell: Cell, secs: float) -> list[str]:
    command = [*fleet.pinning.prefix("load"), str(home.compiled("load")), "--port", str(one.peer.port)]
    command += ["--conns", str(cell.conns), "--secs", str(secs * cell.longer), "--warm", str(cell.warm_s)]
    command += ["--ramp", str(cell.ramp_s), "--rate", str(cell.rate), "--body", str(cell.body_bytes)]
    command += ["--stream"] if cell.stream else []
    for header in one.peer.headers:
        command += ["--header", header]
    return command


def take(fleet: Fleet, one: Running, cell: Cell, secs: float) -> Sample:
    """Runs one load against one proxy; gives the load generator's figures with CPU, memory and disturbance added."""
    fleet.backend.set(chunks=cell.chunks, gap_us=cell.gap_us, delay_us=0, digest=0)
    meter = Meter(fleet, one)
    load = subprocess.Popen(
        _load_command(fleet, one, cell, secs),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert load.stdout is not None and load.stderr is not None
    try:
        load.stdout.readline()
        before = meter.read(machine.cpu_s([load.pid]))
        time.sleep(secs * cell.longer / 2)
        loaded_mb = machine.pss_mb(one.pids)
        line = load.stdout.readline()
        sample: Sample = json.loads(line) if line else {}
        after = meter.read(float(sample.get("load_cpu_s", 0)))
    finally:
        load.kill()
        load.wait()
    if not sample:
        raise home.Unavailable(_why_no_figures(one, load.stderr.read()))
    sample.update(_costs(sample, cell, before, after))
    sample.update(
        peer=one.name, cell=cell.name, idle_mb=one.idle_mb, loaded_mb=loaded_mb, above_idle_mb=loaded_mb - one.idle_mb
    )
    return sample


def _why_no_figures(one: Running, said: str) -> str:
    code = one.child.poll() if one.child else None
    if code is not None:
        return f"it ended with {code} under this load; see {home.RUN / one.name / 'output.log'}"
    return f"the load generator gave up: {said.strip() or 'no word why'}"


def _costs(sample: Sample, cell: Cell, before: Edge, after: Edge) -> Sample:
    wall = after.wall_s - before.wall_s
    cpu = after.proxy_s - before.proxy_s
    answers = sample["ok"] + sample["not_200"]
    units = sample["chunks"] if cell.stream else answers
    others = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return {
        "cpu_us": cpu / units * 1e6 if units and before.proxy_s else None,
        "core_used": cpu / wall,
        "other_cpu": max(0.0, others / wall),
        "failed": bool(sample["not_200"] or sample["errors"] or sample["refused"] or not units),
    }
