"""What is said of a model that is larger than its devices: by the config before anything runs, by the planner after.

Pure text. Called by `config/budgets.py` and `planner/hold.py`.
"""

from roost.core.spec import EngineKind, ModelSpec
from roost.core.units import counted, format_size

_SHARES = {EngineKind.VLLM: "gpu_memory_utilization", EngineKind.SGLANG: "mem_fraction_static"}


def need_of(each: int, count: int, largest: int) -> str:
    """`needs 61.2 GiB on one device; the largest has 44.0 GiB`, in bytes; of several devices each must have it."""
    if count == 1:
        return f"needs {format_size(each)} on one device; the largest has {format_size(largest)}"
    return (
        f"needs {format_size(each)} on each of {count} devices; too few have that, the largest {format_size(largest)}"
    )


def remedy(spec: ModelSpec, each: int, count: int, largest: int) -> str:
    """What can be done about it."""
    smaller = f"Lower {_SHARES.get(spec.engine or EngineKind.COMMAND, 'its footprint')}"
    if largest <= 0 or count > 1:
        return f"{smaller} or raise the budgets."
    return f"{smaller} or allow {counted(-(-each // largest), 'device')}."


def too_many(count: int, allowed: tuple[str, ...]) -> str:
    """`takes 4 devices at once, and may use 2: gpu0, gpu1`."""
    return f"takes {count} devices at once, and may use {len(allowed)}: {', '.join(allowed) or 'none'}"
