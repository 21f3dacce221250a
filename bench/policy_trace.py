"""Arrivals of the policy benchmark: rows per client and window (traces/README.md) in, moments per model out.

One client is one model. A client above the wanted rate is thinned: each of its requests is kept with one probability,
which keeps the shape of its day. Instead of drawing the gaps that thinning throws away, the sum of as many gaps as are
skipped is drawn at once. Seeded; called by policy_stage.py.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from math import gamma, log, sqrt
from pathlib import Path
from random import Random

WINDOW_S = 600.0
DAY_S = 86400.0
_EXACT = 60
"""Up to so many Weibull gaps are summed one by one; more are drawn as one normal number."""


@dataclass(frozen=True, slots=True)
class Window:
    start_s: float
    rate: float
    weibull: bool
    shape: float


Clients = dict[str, list[Window]]


def read(path: Path) -> Clients:
    """The clients of one file, in its order."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    clients: Clients = {}
    for row in csv.DictReader(raw.decode().splitlines()):
        kind = row["distribution"].strip().lower()
        window = Window(float(row["window_start_s"]), float(row["rate_rps"]), kind == "weibull", float(row["shape"]))
        if window.rate > 0:
            clients.setdefault(row["client"], []).append(window)
    return clients


def length_s(clients: Clients) -> float:
    """Whole days that the trace spans."""
    last = max(window.start_s for windows in clients.values() for window in windows) + WINDOW_S
    return -(-last // DAY_S) * DAY_S


def keep_for(windows: list[Window], max_rate: float, span_s: float) -> float:
    """The probability with which this client's requests are kept."""
    mean = sum(window.rate for window in windows) * WINDOW_S / span_s
    return min(1.0, max_rate / mean)


def moments(windows: list[Window], keep: float, until_s: float, luck: Random) -> Iterator[float]:
    """When the kept requests of one client come, up to `until_s`."""
    for window in windows:
        if window.start_s >= until_s:
            continue
        at = _gap(window, keep, luck) * (luck.random() if keep == 1.0 else 1.0)
        while at < WINDOW_S:
            yield window.start_s + at
            at += max(_gap(window, keep, luck), 1e-6)


def _gap(window: Window, keep: float, luck: Random) -> float:
    """To the next request that is kept."""
    count = 1 if keep >= 1.0 else 1 + int(log(1.0 - luck.random()) / log(1.0 - keep))
    mean, shape = 1.0 / window.rate, window.shape
    if not window.weibull:
        return luck.gammavariate(shape * count, mean / shape)
    unit = gamma(1 + 1 / shape)
    if count <= _EXACT:
        return sum(luck.weibullvariate(mean / unit, shape) for _ in range(count))
    spread = mean * sqrt(max(0.0, gamma(1 + 2 / shape) / unit**2 - 1.0))
    return max(0.0, luck.gauss(count * mean, spread * sqrt(count)))
