"""What an engine's own counters say of its progress: where to ask, and how to read the answer.

Values and functions; calls nothing. The figure only has to grow while the engine computes: a watchdog compares it with
an earlier one. Asked only of an engine that has requests: older llama-servers wake for `/metrics`. Called by
`host/stall.py`.
"""

import math
from collections.abc import Mapping

from roost.core.spec import EngineKind
from roost.core.step import Step

_VLLM = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:iteration_tokens_total_sum")
_COUNTERS: Mapping[EngineKind, tuple[str, ...]] = {
    EngineKind.VLLM: _VLLM,
    EngineKind.SIMULATED: _VLLM,
    # Its token totals move when a request ends; the other two while it runs, where the version has them.
    EngineKind.SGLANG: (
        "sglang:generation_tokens_total",
        "sglang:prompt_tokens_total",
        "sglang:realtime_tokens_total",
        "sglang:cuda_graph_passes_total",
    ),
    EngineKind.LLAMACPP: (
        "llamacpp:n_decode_total",
        "llamacpp:tokens_predicted_total",
        "llamacpp:prompt_tokens_total",
    ),
}
_TIMEOUT_S = 5.0


def progress_query(kind: EngineKind) -> Step | None:
    """A GET of its counters; None where it is not known to have any. SGLang needs `--enable-metrics` for it, llama.cpp
    `--metrics`: without, they answer an error."""
    return Step(method="GET", path="/metrics", timeout_s=_TIMEOUT_S) if kind in _COUNTERS else None


def read_progress(kind: EngineKind, status: int, body: bytes) -> float | None:
    """The sum of its counters in Prometheus text; None where the answer holds none of them."""
    if status != 200:
        return None
    names = _COUNTERS.get(kind, ())
    values = [_value(line) for line in body.decode("utf-8", "replace").splitlines() if _name(line) in names]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _name(line: str) -> str:
    return line.partition("{")[0].partition(" ")[0]


def _value(line: str) -> float | None:
    """A label's value may hold blanks and braces; the number stands behind the last brace."""
    fields = line[line.rfind("}") + 1 :].split() if "}" in line else line.split()[1:]
    try:
        value = float(fields[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None
