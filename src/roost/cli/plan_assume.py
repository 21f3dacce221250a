"""How long engines take in a rehearsal: by their size where the config tells it, else a plain guess; said in words.

Pure. Called by `plan_cmd`.
"""

from roost.core.spec import ModelSpec, RoostSpec
from roost.core.units import format_duration, format_size
from roost.engines.registry import adapter_for
from roost.planner.demand import Demand
from roost.planner.rehearse_stage import Mechanics, awake_bytes
from roost.planner.season import HOURS

GIB = 1024**3
DISK, BUS = 1.5, 12.0
"""GiB/s at which weights come from disk, and from host memory."""
START_S, WAKE_S, DEEP_WAKE_S = 10.0, 0.3, 1.0
"""What a load and a wake out of level 1 and 2 take besides."""
UNKNOWN_GIB = 16.0
TOKENS_PER_S = 40.0
FIRST_TOKEN_S = 0.3
MONDAY_S = 4 * 86400.0
"""Unix time of the first Monday, midnight UTC."""


class Weekly(Demand):
    """What a roost learns that begins with nothing, at that Unix time."""

    def __init__(self, starts_at: float) -> None:
        super().__init__()
        self._since_monday = starts_at - MONDAY_S

    def arrived(self, model: str, now: float) -> None:
        self.hour(int((self._since_monday + now) // 3600) % HOURS)
        super().arrived(model, now)


def mechanics(spec: RoostSpec, *, has_hours: bool = False) -> tuple[list[Mechanics], list[str]]:
    """One per model, and the sentences that say what was assumed."""
    made, unsized = [], []
    for name, model in spec.models.items():
        size = _bytes(model)
        if not size:
            unsized.append(name)
        made.append(_of(model, size / GIB if size else UNKNOWN_GIB))
    sentences = [
        f"A load takes {START_S:.0f} s and its size at {DISK} GiB/s; a wake {WAKE_S} s and its size at {BUS:.0f} GiB/s "
        f"(level 2: {DEEP_WAKE_S:.0f} s, {DISK} GiB/s). Nothing fails.",
        "What is learned of the models is learned from these requests alone, as they come.",
    ]
    if unsized:
        who = ", ".join(unsized[:5]) + (f" and {len(unsized) - 5} more" if len(unsized) > 5 else "")
        sentences.append(
            f"No footprint is known of {who}: {format_size(int(UNKNOWN_GIB * GIB))} for how long their moves take, "
            "nothing against the budgets. Set `footprint`."
        )
    if any(model.adapters for model in spec.models.values()):
        sentences.append("Adapters are left out: their requests are requests for their base.")
    if spec.policy.schedules and not has_hours:
        sentences.append('Schedules are left out. Say when it begins, such as --starts "2026-11-20 07:00".')
    return made, sentences


def _bytes(model: ModelSpec) -> int:
    return awake_bytes(model, Mechanics(load_s=0.0))


def _of(model: ModelSpec, gib: float) -> Mechanics:
    load_s, wake_s = START_S + gib / DISK, WAKE_S + gib / BUS
    return Mechanics(
        load_s=load_s,
        levels=adapter_for(model).sleep_levels(model),
        sleep_s=(wake_s, WAKE_S),
        wake_s=(wake_s, DEEP_WAKE_S + gib / DISK),
        owned=model.url is None,
    )


def service_s(tokens: int | None, otherwise_s: float) -> float:
    """How long a request runs."""
    return otherwise_s if tokens is None else FIRST_TOKEN_S + tokens / TOKENS_PER_S


def service_sentence(otherwise_s: float) -> str:
    """The same in words."""
    by_tokens = f"{TOKENS_PER_S:.0f} tokens a second where the trace has them"
    return f"A request runs {format_duration(otherwise_s)}, or {by_tokens}."
