"""How long engines take in a rehearsal: as it was measured, else by their size, else a plain guess; said in words, and
with it all that is left out.

Pure. Called by `plan_cmd`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from roost.cli.plan_learned import Learned
from roost.core.footprint import Footprint
from roost.core.forecast import ReturnCosts
from roost.core.hosted_spec import Preset
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


_SHOWN = 5
"""Names in one sentence."""


def mechanics(
    spec: RoostSpec, holds: Mapping[str, Footprint], learned: Learned, *, has_hours: bool = False
) -> tuple[list[Mechanics], list[str]]:
    """One per model, and the sentences that say what was assumed. `holds`: what each model holds in each state."""
    made, unsized = [], []
    for name, model in spec.models.items():
        size = _bytes(model, holds[name])
        if not size:
            unsized.append(name)
        guess = _of(spec, model, size / GIB if size else UNKNOWN_GIB)
        costs = learned.costs.get(name, ReturnCosts())
        made.append(replace(_measured(guess, costs), footprint=holds[name]))
    return made, [*_assumed(learned, unsized), *_left_out(spec, has_hours=has_hours)]


def _assumed(learned: Learned, unsized: list[str]) -> Iterator[str]:
    yield from learned.sentences
    yield (
        f"A load takes {START_S:.0f} s and its size at {DISK} GiB/s; a wake {WAKE_S} s and its size at {BUS:.0f} GiB/s "
        f"(level 2: {DEEP_WAKE_S:.0f} s, {DISK} GiB/s){', where nothing was measured' if learned.costs else ''}. "
        "Nothing fails."
    )
    yield "When the models are wanted is learned from these requests alone, as they come."
    yield "Nobody is refused for a wait that is only predicted: clients wait until queue.max_wait."
    if unsized:
        yield (
            f"No footprint is known of {_listed(unsized)}: {format_size(int(UNKNOWN_GIB * GIB))} for how long their "
            "moves take, nothing against the budgets. Set `footprint`."
        )


def _left_out(spec: RoostSpec, *, has_hours: bool) -> Iterator[str]:
    """What a running roost has and a rehearsal has not."""
    if adapters := [name for model in spec.models.values() for name in model.adapters]:
        yield f"Adapters are left out ({_listed(adapters)}): only their bases get requests."
    if found := [name for name, host in spec.hosts.items() if host.discover]:
        yield f"Models that a server lists by itself are left out: in {_listed(found)} there are those written here."
    if backed := [name for name, model in spec.models.items() if model.fallback]:
        yield f"Fallbacks are left out: who cannot get {_listed(backed)} is refused."
    if any(key.weight != 1 or key.priority for key in spec.server.keys):
        yield "Weights and priorities of keys are left out: all requests are of one key."
    if spec.policy.schedules and not has_hours:
        yield 'Schedules are left out. Say when it begins, such as --starts "2026-11-20 07:00".'


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")


def _bytes(model: ModelSpec, holds: Footprint) -> int:
    """What must be read in: on its devices, or in host memory where it runs there."""
    return awake_bytes(model, Mechanics(load_s=0.0, footprint=holds)) or holds.awake.host


def _measured(guess: Mechanics, costs: ReturnCosts) -> Mechanics:
    """With what was measured in place of what is guessed."""
    first, second = guess.wake_s
    down = costs.down_s
    return replace(
        guess,
        load_s=guess.load_s if costs.load_s is None else costs.load_s,
        wake_s=(
            first if costs.level1_s is None else costs.level1_s,
            second if costs.level2_s is None else costs.level2_s,
        ),
        sleep_s=guess.sleep_s if down is None else (down, down),
        stop_s=guess.stop_s if down is None else down,
    )


def _of(spec: RoostSpec, model: ModelSpec, gib: float) -> Mechanics:
    host = spec.hosts.get(model.inside or "")
    load_s, wake_s = START_S + gib / DISK, WAKE_S + gib / BUS
    return Mechanics(
        load_s=load_s,
        levels=adapter_for(model).sleep_levels(model),
        sleep_s=(wake_s, WAKE_S),
        wake_s=(wake_s, DEEP_WAKE_S + gib / DISK),
        owned=model.url is None if host is None else host.preset is not Preset.FIXED,
    )


def service_s(tokens: int | None, otherwise_s: float) -> float:
    """How long a request runs."""
    return otherwise_s if tokens is None else FIRST_TOKEN_S + tokens / TOKENS_PER_S


def service_sentence(otherwise_s: float) -> str:
    """The same in words."""
    by_tokens = f"{TOKENS_PER_S:.0f} tokens a second where the trace has them"
    return f"A request runs {format_duration(otherwise_s)}, or {by_tokens}."
