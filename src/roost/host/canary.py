"""Verifies an engine before it serves: a request that fits the task must get a sane answer, and after a sleep a fixed
question the same answer as before it.

Decides nothing about what follows from a failure: `host/work.py` and `host/watching.py` do, which call this. Its calls
go to the engine itself, so that no client's count, limit or log knows of them.
"""

import json
from collections.abc import MutableSequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from roost import clock
from roost.core.errors import StepError
from roost.core.lifecycle import State
from roost.core.spec import ModelSpec
from roost.core.step import NO_HEALTH_PATH, Step, StepRecord
from roost.engines.common import openai_verify
from roost.engines.own import fitting_request
from roost.engines.questions import Answer, differ, form_of, question, read, recorded
from roost.host.showing import Shower
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

TRY_S = 10.0
POLL_S = 0.1
MISSES = 2
"""Wakes in a row with another answer than before, from one level: the fresh start between them did not help."""


@dataclass(slots=True)
class Canary:
    """What is known of one replica's answers. The baseline belongs to one engine process, the misses to the replica."""

    baseline: Answer | None = None
    slept: bool = False
    """Its engine has slept, or may have: what it says now cannot become the baseline."""
    tried: bool = False
    asks: bool | None = None
    """Of a program that nobody described: whether the request that fits its task verifies it; None: not tried yet."""
    unasked: str = ""
    """Why that request does not, for people."""
    note: str = ""
    """For people: armed, or why not; empty where none is wanted."""
    misses: dict[int, int] = field(default_factory=dict)
    """Level -> wakes from it in a row with another answer."""

    @property
    def said(self) -> str:
        """For people: the note, and the levels that are given up."""
        lost = sorted(level for level, missed in self.misses.items() if missed >= MISSES)
        given_up = [f"sleep level {level} given up: its answers were not the same after it" for level in lost]
        return "; ".join(filter(None, (self.note, *given_up)))

    @property
    def known(self) -> bool:
        """Something is known of the present engine."""
        return self.tried or self.slept or self.asks is not None

    def begin(self) -> None:
        """Another engine process: nothing is known of its answers."""
        self.baseline, self.slept, self.tried, self.note = None, False, False, ""
        self.asks, self.unasked = None, ""

    def pardon(self) -> None:
        """Whoever loads by hand has mended something: every level may be tried again."""
        self.misses.clear()

    def usable(self, levels: tuple[int, ...]) -> tuple[int, ...]:
        """The levels that it came back from as it was."""
        return tuple(level for level in levels if self.misses.get(level, 0) < MISSES)

    def record(self) -> dict[str, Any]:
        """For the roost after this one."""
        return {
            "baseline": self.baseline.record() if self.baseline else None,
            "tried": self.tried,
            "note": self.note,
            "asks": self.asks,
            "unasked": self.unasked,
        }

    def recall(self, value: object, state: object) -> None:
        """What the earlier roost wrote down, and the state it left the engine in. An engine that was past its start
        may have slept."""
        known = value if isinstance(value, dict) else {}
        self.baseline = recorded(known.get("baseline"))
        self.tried, self.note = bool(known.get("tried")), str(known.get("note") or "")
        self.slept = state != State.STARTING
        self.recall_form(value)

    def recall_form(self, value: object) -> None:
        """Of that, only what verifies it."""
        known = value if isinstance(value, dict) else {}
        self.asks = known["asks"] if isinstance(known.get("asks"), bool) else None
        self.unasked = str(known.get("unasked") or "")


def wanted(spec: ModelSpec, level: int) -> bool:
    """Whether a sleep at this level needs the comparison."""
    return level == 2 if spec.canary is None else spec.canary


async def verify(replica: "Replica", records: MutableSequence[StepRecord]) -> None:
    """One request with a sane answer; where there is a baseline, the same answer; where one is wanted and can still
    be taken, that. Raises StepError."""
    canary = replica.canary
    canary.slept = canary.slept or replica.state is State.WAKING
    asked = _question(replica)
    if canary.baseline is not None and asked is not None:
        await _compare(replica, asked, canary.baseline, records)
        return
    if not (untried(replica) and await _fits(replica, records)):
        first = _verifying(replica)
        try:
            if first.path != NO_HEALTH_PATH:  # else its probe has said all that can be known
                await _ask(replica, first, records)
        except StepError as error:
            raise StepError(f"the verifying request failed: {error}") from None
    if wanted(replica.spec, replica.spec.sleep_level):
        await take(replica, records)


def untried(replica: "Replica") -> bool:
    """Whether the engine is a program that nobody described, and awake, and was never asked what fits its task."""
    canary = replica.canary
    return canary.asks is None and not canary.slept and fitting_request(replica.spec, replica.served_name) is not None


async def _fits(replica: "Replica", records: MutableSequence[StepRecord]) -> bool:
    """Ask it once, and remember whether a sane answer came. Never raises: a start does not fail for that alone."""
    canary = replica.canary
    asked = fitting_request(replica.spec, replica.served_name)
    assert asked is not None
    try:
        await _ask(replica, replace(asked, timeout_s=min(asked.timeout_s, _time_to_try(replica))), records)
    except StepError as error:
        canary.asks = False
        canary.unasked = (
            f"the request that fits its task got no sane answer ({error}), so its health path alone verifies it after "
            "a wake, and garbage would be served. Write `served_name` if it knows the model by another name, or "
            "`task: other`."
        )
    else:
        canary.asks = True
    return canary.asks


def _time_to_try(replica: "Replica") -> float:
    """Half of what is left of a start; of one that runs elsewhere little, for whoever starts roost waits for it."""
    if replica.state is not State.STARTING:
        return TRY_S
    return max((replica.since + replica.spec.start_timeout - clock.now()) / 2, POLL_S)


def _verifying(replica: "Replica") -> Step:
    spec, name = replica.spec, replica.served_name
    fitting = fitting_request(spec, name) if replica.canary.asks else None
    return fitting or replica.setup.adapter.verify(spec, name)


async def before_sleep(replica: "Replica", level: int, records: MutableSequence[StepRecord]) -> None:
    """A sleep deeper than the configured one may need a baseline that its start did not; no client is there now."""
    if wanted(replica.spec, level):
        await take(replica, records)


async def take(replica: "Replica", records: MutableSequence[StepRecord]) -> None:
    """Ask twice, and keep the answer if both are the same. Never raises: a model without a canary serves too."""
    canary = replica.canary
    if canary.baseline is not None or canary.tried:
        return
    canary.tried = True
    asked = _question(replica)
    if canary.slept:
        _off(replica, "it had slept before roost could ask it")
    elif asked is None:
        _off(replica, f"nothing is known to ask a model of task {replica.spec.task} of engine {_kind(replica)}")
    else:
        await _arm(replica, asked, records)


async def _arm(replica: "Replica", asked: Step, records: MutableSequence[StepRecord]) -> None:
    try:
        first = await _ask(replica, asked, records)
        second = await _ask(replica, asked, records)
    except StepError as error:
        _off(replica, str(error))
        return
    if first is None or second is None or first.empty:
        _off(replica, "its answer is empty")
    elif said := differ(first, second):
        _off(replica, f"it answered the same question twice and not the same: {said}")
    else:
        replica.canary.baseline, replica.canary.note = first, "armed"


def _off(replica: "Replica", why: str) -> None:
    replica.canary.note = f"off: {why}"
    log.warning("%s: no canary, its wakes are verified by a sane answer alone: %s", replica.id, why)


def _kind(replica: "Replica") -> str:
    return str(replica.setup.adapter.kind)


def _question(replica: "Replica") -> Step | None:
    """An engine that nobody described is asked as OpenAI's API has it, once someone has written `canary: true`."""
    spec, name = replica.spec, replica.served_name
    asked = question(_verifying(replica))
    return question(openai_verify(spec, name)) if asked is None and spec.canary else asked


async def _compare(replica: "Replica", asked: Step, baseline: Answer, records: MutableSequence[StepRecord]) -> None:
    """Asked once more before it is believed: weights that are gone do not come back in between, while the noise of a
    GPU passes."""
    level = replica.level if replica.state is State.WAKING else None
    said = ""
    for _ in range(2):
        answer = await _ask(replica, asked, records)
        said = differ(baseline, answer) if answer is not None else "no answer"
        if not said:
            if level is not None:
                replica.canary.misses.pop(level, None)
            return
    shown = replica.executor.shower.text(said)
    raise StepError(f"its answers are not what they were before its sleep: {shown}{_missed(replica, level)}")


def _missed(replica: "Replica", level: int | None) -> str:
    """Count it against the level. Gives what follows, in words."""
    canary = replica.canary
    if not replica.owned:
        return "; restart that engine"
    if level is None:
        return ""
    canary.misses[level] = canary.misses.get(level, 0) + 1
    if canary.misses[level] < MISSES:
        return ""
    left = canary.usable(replica.setup.adapter.sleep_levels(replica.spec))
    instead = (
        f"it sleeps at level {', '.join(map(str, left))} instead" if left else "it is stopped instead of put to sleep"
    )
    note = f"sleep level {level} is given up: {canary.misses[level]} wakes in a row changed its answers; {instead}"
    log.error("%s: %s, until it is loaded by hand or roost is restarted", replica.id, note)
    return f"; {note}"


async def _ask(replica: "Replica", step: Step, records: MutableSequence[StepRecord]) -> Answer | None:
    """The answer, None where the step asks for no known form (a health path). Raises StepError unless it is sane; what
    the engine said is in it, and may repeat the key that it was sent."""
    shower, started = replica.executor.shower, clock.now()
    status, answer, error = None, None, ""
    try:
        status, body = await replica.caller.call(step)
        answer = _sane(step, status, body, shower)
    except StepError as problem:
        error = shower.text(str(problem))
    took = clock.now() - started
    name = shower.text(step.name)
    records.append(StepRecord(name=name, started_at=started, duration_s=took, status=status, error=error))
    if error:
        raise StepError(error)
    return answer


def _sane(step: Step, status: int, body: bytes, shower: Shower) -> Answer | None:
    """Raises StepError."""
    form = form_of(step)
    fine = status in step.expect_status if step.expect_status else 200 <= status < 300
    if not fine:
        text = shower.answer(body)
        raise StepError(f"{step.name} answered {status}{f': {text}' if text else ''}")
    if form is None:
        return None
    try:
        return read(form, json.loads(body))
    except ValueError as error:
        why = "the body is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
        raise StepError(f"{step.name} answered {status}, yet not with {form}: {why} ({shower.answer(body)})") from None
